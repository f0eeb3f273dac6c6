/* A small chart of lines that fills the width there is: axes, lines, and a mark that moves without
   a new drawing. Values outside of an axis are drawn at its end. Knows no step. */

import { make } from "../shared/elements.js";

const NS = "http://www.w3.org/2000/svg";
const MARGIN = { left: 50, right: 14, top: 12, bottom: 40 };

export function node(tag, attributes = {}, text) {
	const made = document.createElementNS(NS, tag);
	for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
	if (text !== undefined) made.textContent = text;
	return made;
}

/* From a value to a place. axis: { least, most, log }. */
export function scale({ least, most, log }, from, to) {
	const on = log ? Math.log : (value) => value;
	const [low, high] = [on(least), on(most)];
	const within = (value) => Math.min(most, Math.max(least, value));
	return (value) => from + ((to - from) * (on(within(value)) - low)) / (high - low);
}

/* given: { label, height, x, y } with axes { least, most, log, ticks: [[value, text]], label }.
   `lines([{ points: [[x, y]], kind }])` draws; kind is a class such as "rs-line-accent".
   `levels([{ y, text }])` are dashed lines across. `mark(x, ys)` moves the mark. */
export function chart(holder, given) {
	const svg = node("svg", { role: "img", "aria-label": given.label, class: "rs-chart" });
	svg.style.height = `${given.height}px`;
	holder.append(svg);
	let [drawn, across, marked] = [[], [], null];
	let places;
	let marks;

	function draw() {
		const width = Math.max(240, holder.clientWidth || 600);
		svg.setAttribute("viewBox", `0 0 ${width} ${given.height}`);
		const right = width - MARGIN.right;
		const bottom = given.height - MARGIN.bottom;
		places = { x: scale(given.x, MARGIN.left, right), y: scale(given.y, bottom, MARGIN.top) };
		svg.replaceChildren(...axes(given, places, right, bottom));
		for (const { y, text } of across) {
			const at = places.y(y);
			svg.append(
				node("line", { class: "rs-level", x1: MARGIN.left, x2: right, y1: at, y2: at }),
				node("text", { x: right, y: at - 5, "text-anchor": "end", class: "rs-level-text" }, text),
			);
		}
		for (const { points, kind } of drawn) {
			const path = points.map(([x, y]) => `${places.x(x).toFixed(1)},${places.y(y).toFixed(1)}`);
			svg.append(node("polyline", { points: path.join(" "), class: `rs-line ${kind}` }));
		}
		marks = node("g", { class: "rs-lesson-mark" });
		marks.append(node("line", { y1: MARGIN.top, y2: bottom }));
		svg.append(marks);
		if (marked) mark(...marked);
	}

	/* ys: [[value, kind]] on the lines at x. */
	function mark(x, ys = []) {
		marked = [x, ys];
		marks.setAttribute("transform", `translate(${places.x(x).toFixed(1)} 0)`);
		while (marks.childElementCount - 1 > ys.length) marks.lastElementChild.remove();
		while (marks.childElementCount - 1 < ys.length) marks.append(node("circle", { r: 4.5 }));
		ys.forEach(([y, kind], i) => {
			const dot = marks.children[i + 1];
			dot.setAttribute("class", kind);
			dot.setAttribute("cy", places.y(y).toFixed(1));
		});
	}

	draw();
	new ResizeObserver(() => {
		if (svg.clientWidth && svg.viewBox.baseVal.width !== holder.clientWidth) draw();
	}).observe(holder);
	return {
		svg,
		mark,
		lines: (next) => {
			drawn = next;
			draw();
		},
		levels: (next) => {
			across = next;
			draw();
		},
	};
}

function axes({ x, y }, places, right, bottom) {
	const parts = [];
	for (const [value, text] of y.ticks) {
		const at = places.y(value);
		parts.push(
			node("line", { class: "rs-grid-line", x1: MARGIN.left, x2: right, y1: at, y2: at }),
			node("text", { x: MARGIN.left - 7, y: at + 4, "text-anchor": "end" }, text),
		);
	}
	const room = Math.max(1, Math.ceil((x.ticks.length * 44) / (right - MARGIN.left)));
	x.ticks.forEach(([value, text], i) => {
		const at = places.x(value);
		if (i % room === 0)
			parts.push(node("text", { x: at, y: bottom + 17, "text-anchor": "middle" }, text));
	});
	parts.push(
		node("line", { class: "rs-axis", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom }),
		node(
			"text",
			{ x: right, y: bottom + 34, "text-anchor": "end", class: "rs-axis-name" },
			x.label,
		),
		node("text", { x: 2, y: bottom + 34, class: "rs-axis-name" }, y.label),
	);
	return parts;
}

/* What the lines are called: [[name, kind]]. */
export function legend(names) {
	const list = make("p", "rs-lesson-legend");
	for (const [name, kind] of names) {
		const one = make("span");
		one.append(make("i", kind), name);
		list.append(one);
	}
	return list;
}
