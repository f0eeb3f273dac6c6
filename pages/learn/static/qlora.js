/* The step "qlora": NF4's levels over a real weight's histogram, one block rounded number by
   number, and what the constants cost. */

import { make, parsed } from "../shared/elements.js";
import { node, scale } from "./chart.js";
import { slider } from "./controls.js";
import { say, shown, significant } from "./words.js";

const HEIGHT = 250;
const MARGIN = { left: 10, right: 10, top: 30, bottom: 26 };

export function qlora(box, props) {
	const { weight, levels, words, bits } = parsed(props.value);
	const holder = make("div", "rs-chart-holder");
	const picture = histogram(holder, weight.counts, levels, words);
	const told = make("p", "rs-learn-words");
	told.setAttribute("role", "status");
	const control = slider({
		label: words.number,
		least: 1,
		most: weight.first.length,
		value: 1,
		text: (i) => say(words.of, { number: i, count: weight.first.length }),
		moved: show,
	});
	const controls = make("div", "rs-sliders");
	controls.append(control.row);
	const block = make("div", "rs-weight-block");
	block.setAttribute("aria-hidden", "true");
	const squares = weight.first_codes.map((code) => {
		const square = make("i");
		square.style.setProperty("--part", `${Math.round((100 * code) / (levels.length - 1))}%`);
		block.append(square);
		return square;
	});
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(holder, block, controls, told, table(bits, words));
	box.append(make("p", "rs-learn-note", words.how));

	let last = 0;
	function show(number) {
		const value = weight.first[number - 1];
		const code = weight.first_codes[number - 1];
		const back = levels[code] * weight.absmax;
		picture.mark(value / weight.absmax, code);
		squares[last].classList.remove("rs-weight-now");
		last = number - 1;
		squares[last].classList.add("rs-weight-now");
		told.textContent = say(words.result, {
			value: shown(value, 5),
			absmax: shown(weight.absmax, 5),
			part: shown(value / weight.absmax, 3),
			level: shown(levels[code], 3),
			code: code.toString(2).padStart(4, "0"),
			back: shown(back, 5),
			error: significant(Math.abs(back - value)),
		});
	}
	show(1);
}

/* Bars from -1 to 1, the levels as lines over them; the mark shows a number and its level. */
function histogram(holder, counts, levels, words) {
	const svg = node("svg", { role: "img", "aria-label": words.chart, class: "rs-chart" });
	svg.style.height = `${HEIGHT}px`;
	holder.append(svg);
	const most = Math.max(...counts);
	let x;
	let pointer;
	let lines;
	let marked = [0, 0];
	function draw() {
		const width = Math.max(240, holder.clientWidth || 600);
		const bottom = HEIGHT - MARGIN.bottom;
		svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
		x = scale({ least: -1, most: 1 }, MARGIN.left, width - MARGIN.right);
		const y = scale({ least: 0, most }, bottom, MARGIN.top);
		const bar = x(2 / counts.length) - x(0);
		const bars = counts.map((count, i) =>
			node("rect", {
				class: "rs-lesson-histogram",
				x: MARGIN.left + i * bar,
				y: y(count),
				width: Math.max(1, bar - 1),
				height: bottom - y(count),
			}),
		);
		lines = levels.map((level) =>
			node("line", {
				class: "rs-nf4",
				x1: x(level),
				x2: x(level),
				y1: MARGIN.top - 12,
				y2: bottom,
			}),
		);
		const texts = [-1, -0.5, 0, 0.5, 1].map((value) =>
			node("text", { x: x(value), y: HEIGHT - 8, "text-anchor": anchor(value) }, shown(value)),
		);
		pointer = node("path", { class: "rs-pointer", d: "M0 0l-6 -11h12z" });
		svg.replaceChildren(...bars, ...lines, ...texts, pointer);
		mark(...marked);
	}
	function mark(value, code) {
		lines[marked[1]].classList.remove("rs-nf4-now");
		marked = [value, code];
		lines[code].classList.add("rs-nf4-now");
		pointer.setAttribute("transform", `translate(${x(value).toFixed(1)} ${MARGIN.top - 14})`);
	}
	draw();
	new ResizeObserver(() => {
		if (svg.clientWidth && svg.viewBox.baseVal.width !== holder.clientWidth) draw();
	}).observe(holder);
	return { mark };
}

const anchor = (value) => ({ "-1": "start", 1: "end" })[value] ?? "middle";

/* What one weight takes, by the ways its constants can be kept. */
function table(bits, words) {
	const made = make("table", "rs-bits");
	const head = make("tr");
	for (const text of words.columns) {
		const cell = make("th", "", text);
		cell.scope = "col";
		head.append(cell);
	}
	made.append(head);
	for (const row of bits) {
		const line = make("tr");
		row.forEach((text, i) => {
			const cell = make(i ? "td" : "th", "", text);
			if (!i) cell.scope = "row";
			line.append(cell);
		});
		made.append(line);
	}
	return made;
}
