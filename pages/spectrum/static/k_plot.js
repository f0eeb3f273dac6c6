/* A plot over k in SVG that follows k in the browser. The curve is drawn once; moving k moves a clip
   and a line. A press or a drag chooses k. */

import { grouped } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const BARS = 48; // values up to which each is a bar of its own
const MARGIN = { left: 52, right: 14, top: 14, bottom: 34 };
let plots = 0;

function svg(tag, attributes, text) {
	const node = document.createElementNS(SVG, tag);
	for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
	if (text !== undefined) node.textContent = text;
	return node;
}

/* Round numbers between low and high, about `wanted` of them. */
function ticks(low, high, wanted) {
	const raw = (high - low) / wanted;
	const power = 10 ** Math.floor(Math.log10(raw));
	const step = [1, 2, 5, 10].map((part) => part * power).find((size) => size >= raw) || raw;
	const found = [];
	for (let at = Math.ceil(low / step) * step; at <= high + 1e-9 * step; at += step) found.push(at);
	return found;
}

/* Powers of ten; where there are few of them, also twice and five times each. */
function powers(low, high) {
	const from = Math.ceil(Math.log10(low) - 1e-9);
	const to = Math.floor(Math.log10(high) + 1e-9);
	const step = Math.max(1, Math.ceil((to - from + 1) / 6));
	const found = [];
	for (let power = from - 1; power <= to; power++) {
		const parts = to - from < 2 ? [1, 2, 5] : (power - from) % step === 0 ? [1] : [];
		found.push(
			...parts.map((part) => part * 10 ** power).filter((value) => value >= low && value <= high),
		);
	}
	return found;
}

/* values: one a k, from 1 on. options: label, low, high, log, lines [{value, text}],
   upper (a second curve: the band's other side), tick(value) -> text, choose(k). */
export class KPlot {
	constructor(label, choose) {
		this.node = document.createElement("div");
		this.node.className = "rs-kplot";
		this.node.setAttribute("role", "img");
		this.node.setAttribute("aria-label", label);
		this.choose = choose;
		this.id = `rs-clip-${plots++}`;
		this.k = 1;
		new ResizeObserver(() => this.drawAll()).observe(this.node);
		this.node.addEventListener("pointerdown", (event) => {
			this.node.setPointerCapture(event.pointerId);
			this.pressed = true;
			this.point(event);
		});
		this.node.addEventListener("pointermove", (event) => this.point(event));
		this.node.addEventListener("pointerup", () => (this.pressed = false));
		this.node.addEventListener("pointercancel", () => (this.pressed = false));
		this.node.addEventListener("pointerleave", () => this.readOut(null));
	}

	show(values, options) {
		this.values = values;
		this.options = options;
		this.drawAll();
	}

	point(event) {
		if (!this.values) return;
		const place = event.clientX - this.node.getBoundingClientRect().left;
		const count = this.values.length;
		const share = (place - MARGIN.left) / this.inner;
		const k = Math.min(count, Math.max(1, Math.ceil(share * count)));
		this.readOut(k);
		if (this.pressed) this.choose(k);
	}

	/* What a screen reader hears. */
	describe(words) {
		this.node.setAttribute("aria-label", words);
	}

	readOut(k) {
		if (!this.note) return;
		this.note.textContent = k === null ? "" : this.options.say(k, this.values[k - 1]);
	}

	/* Left edge of the k-th value, k from 0 on. */
	x(k) {
		return MARGIN.left + (this.inner * k) / this.values.length;
	}

	y(value) {
		const { low, high, log } = this.options;
		const at = log ? Math.log10(Math.max(value, low)) : value;
		const from = log ? Math.log10(low) : low;
		const to = log ? Math.log10(high) : high;
		const share = to > from ? (at - from) / (to - from) : 0;
		return this.height - MARGIN.bottom - Math.max(0, Math.min(1, share)) * this.tall;
	}

	drawAll() {
		const width = this.node.clientWidth;
		if (!width || !this.values) return;
		this.height = this.node.clientHeight || 230;
		this.inner = width - MARGIN.left - MARGIN.right;
		this.tall = this.height - MARGIN.top - MARGIN.bottom;
		const root = svg("svg", { width, height: this.height, "aria-hidden": "true" });
		const clip = svg("clipPath", { id: this.id });
		this.clip = svg("rect", { x: 0, y: 0, height: this.height, width: 0 });
		clip.append(this.clip);
		root.append(clip);
		this.axes(root, width);
		const area = this.area();
		root.append(svg("path", { d: area, class: "rs-rest" }));
		root.append(svg("path", { d: area, class: "rs-kept", "clip-path": `url(#${this.id})` }));
		if (this.options.upper) root.append(svg("path", { d: this.band(), class: "rs-band" }));
		this.lines(root, width);
		this.cursor = svg("line", {
			y1: MARGIN.top,
			y2: this.height - MARGIN.bottom,
			class: "rs-cursor",
		});
		this.note = svg("text", { x: width - MARGIN.right, y: MARGIN.top + 12, class: "rs-readout" });
		root.append(this.cursor, this.note);
		this.node.replaceChildren(root);
		this.moveTo(this.k);
	}

	axes(root, width) {
		const { low, high, log, tick } = this.options;
		const bottom = this.height - MARGIN.bottom;
		const marks = log ? powers(low, high) : ticks(low, high, 4);
		marks.forEach((value) => {
			const y = this.y(value);
			root.append(
				svg("line", {
					x1: MARGIN.left,
					x2: width - MARGIN.right,
					y1: y,
					y2: y,
					class: "rs-gridline",
				}),
			);
			root.append(svg("text", { x: MARGIN.left - 7, y: y + 4, class: "rs-ytick" }, tick(value)));
		});
		const count = this.values.length;
		const steps = ticks(0, count, Math.max(2, Math.min(8, this.inner / 70)));
		[1, ...steps.filter((k) => k >= 1 && Number.isInteger(k))].forEach((k, place, all) => {
			if (place > 0 && this.x(k) - this.x(1) < 26) return;
			const x = (this.x(k - 1) + this.x(k)) / 2;
			if (all.indexOf(k) === place)
				root.append(svg("text", { x, y: bottom + 17, class: "rs-xtick" }, grouped(k)));
		});
		root.append(
			svg("text", { x: width - MARGIN.right, y: this.height - 3, class: "rs-xname" }, "k"),
		);
	}

	/* Bars while there are few, else one area with steps no finer than the screen. */
	area() {
		const { values } = this;
		const base = this.height - MARGIN.bottom;
		const gap = values.length <= BARS ? Math.min(3, (this.inner / values.length) * 0.18) : 0;
		const step = Math.max(1, Math.floor(values.length / (this.inner * 2)));
		const parts = [];
		for (let k = 0; k < values.length; k += step) {
			const end = Math.min(values.length, k + step);
			const [x, right, y] = [this.x(k) + gap / 2, this.x(end) - gap / 2, this.y(values[k])];
			parts.push(`M${x.toFixed(1)},${base}V${y.toFixed(1)}H${right.toFixed(1)}V${base}Z`);
		}
		return parts.join("");
	}

	band() {
		const { upper } = this.options;
		const point = (values, k) =>
			`${((this.x(k) + this.x(k + 1)) / 2).toFixed(1)},${this.y(values[k]).toFixed(1)}`;
		const all = Array.from(this.values, (_, k) => k);
		const there = all.map((k) => point(upper, k));
		const back = all.reverse().map((k) => point(this.values, k));
		return `M${[...there, ...back].join("L")}Z`;
	}

	lines(root, width) {
		(this.options.lines || []).forEach(({ value, text, below, offset = 0 }) => {
			if (value < this.options.low || value > this.options.high) return;
			const y = this.y(value);
			root.append(
				svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y, class: "rs-mark" }),
			);
			const x = width - MARGIN.right - 4 - offset;
			root.append(svg("text", { x, y: below ? y + 12 : y - 3, class: "rs-marktext" }, text));
		});
	}

	moveTo(k) {
		this.k = k;
		if (!this.clip || !this.values) return;
		const x = this.x(Math.min(k, this.values.length));
		this.clip.setAttribute("width", x);
		this.cursor.setAttribute("x1", x);
		this.cursor.setAttribute("x2", x);
	}
}
