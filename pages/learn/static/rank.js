/* The step "rank": a matrix whose fifth row is the sum of two others, to be edited; its singular
   values and its rank follow. */

import { make, parsed } from "../shared/elements.js";
import { cells, largest } from "./cells.js";
import { button, isStill, slider } from "./controls.js";
import { dependentRow, rankOf, svd } from "./linear.js";
import { say, significant, sub } from "./words.js";

const FLIGHT_MS = 1100;
const ALMOST = 0.01;

export function rank(box, props) {
	const { matrix, words } = parsed(props.value);
	let rows = matrix.map((row) => [...row]);
	const problem = make("p", "rs-learn-wrong");
	problem.setAttribute("role", "alert");
	const table = cells("S", rows, {
		words,
		changed: (i, j, value) => {
			rows[i][j] = value;
			draw();
		},
		wrong: (text) => {
			problem.textContent = text;
		},
	});
	const last = slider({
		label: words.slide,
		least: 0,
		most: 1,
		step: 0.01,
		value: 0,
		text: (value) => value.toFixed(2),
		moved: (value) => {
			rows[4][4] = value;
			draw();
		},
	});
	const put = (next) => {
		rows = next;
		problem.textContent = "";
		draw();
	};
	const freed = () => put(rows.map((row, i) => (i === 4 ? [...row.slice(0, 4), 1] : row)));
	const buttons = make("div", "rs-learn-buttons");
	buttons.append(
		button(words.show, () => fly(table)),
		button(words.free, freed, true),
		button(words.again, () => put(matrix.map((row) => [...row]))),
	);
	const result = results(words);
	const left = make("div", "rs-rank-left");
	left.append(table.figure, last.row, buttons, problem);
	const both = make("div", "rs-sheet rs-learn-two");
	both.append(left, result.node);
	box.replaceChildren(both);

	function draw() {
		table.set(rows, largest(rows));
		last.set(rows[4][4]);
		const found = dependentRow(rows);
		for (const [i, line] of table.boxes.entries()) {
			const node = line[0].parentElement;
			node.classList.toggle("rs-row-sum", found?.row === i);
			node.classList.toggle("rs-row-part", Boolean(found && Math.abs(found.parts[i]) > 1e-9));
		}
		result.show(svd(rows).s, found);
	}
	draw();
}

/* The rank, the singular values as bars, and what they mean in a sentence. */
function results(words) {
	const node = make("div", "rs-rank-right");
	const figure = make("p", "rs-rank-figure");
	const number = make("b");
	figure.append(make("span", "", words.rank), number);
	const bars = [1, 2, 3, 4, 5].map((i) => {
		const row = make("div", "rs-learn-bar rs-sigma");
		const fill = make("i");
		const track = make("span");
		const value = make("b");
		track.append(fill);
		row.append(make("span", "", sub("σ", i)), track, value);
		return { row, fill, value };
	});
	const counted = make("p", "rs-learn-note");
	const sentence = make("p", "rs-learn-words rs-rank-meaning");
	sentence.setAttribute("role", "status");
	node.append(figure, sentence, make("p", "rs-learn-note", words.values));
	node.append(...bars.map(({ row }) => row), counted);

	function show(values, found) {
		const count = rankOf(values, 5, 5);
		number.textContent = count;
		bars.forEach(({ row, fill, value }, i) => {
			row.classList.toggle("rs-learn-bar-low", i < count);
			fill.style.width = `${values[0] ? (100 * values[i]) / values[0] : 0}%`;
			value.textContent = i >= count ? "0" : significant(values[i]);
		});
		const limit = values[0] * 5 * Number.EPSILON;
		counted.textContent = say(words.counted, { limit: significant(limit) });
		sentence.textContent = meaning(count, values, found);
	}

	function meaning(count, values, found) {
		if (found) {
			const sum = written(found.parts);
			const text = sum ? words.follows : words.zero;
			return say(text, {
				row: found.row + 1,
				sum: `${sub("r", found.row + 1)} = ${sum}`,
				rank: count,
			});
		}
		const share = values[4] / values[0];
		return share < ALMOST ? say(words.almost, { share: significant(share) }) : words.none;
	}
	return { node, show };
}

/* [1, 1, 0, 0, 0] as "r₁ + r₂", [0, 2, -1, 0, 0] as "2 r₂ − r₃". */
function written(parts) {
	let text = "";
	parts.forEach((part, i) => {
		if (Math.abs(part) < 1e-9) return;
		const size = Math.abs(part);
		const sign = part < 0 ? "−" : "+";
		const times = Math.abs(size - 1) < 1e-9 ? "" : `${significant(size)} `;
		text += text ? ` ${sign} ${times}` : `${part < 0 ? "−" : ""}${times}`;
		text += sub("r", i + 1);
	});
	return text;
}

/* The rows that the sum is made of move onto it. With reduced motion they only light up. */
function fly({ boxes, figure }) {
	const lines = boxes.map((row) => row[0].parentElement);
	const sum = lines.find((line) => line.classList.contains("rs-row-sum"));
	if (!sum) return;
	const options = { duration: FLIGHT_MS, easing: "ease-in-out" };
	for (const line of lines.filter((one) => one.classList.contains("rs-row-part"))) {
		const way = sum.offsetTop - line.offsetTop;
		const [ghost, table] = [line.cloneNode(true), make("table", "rs-ghost")];
		for (const input of ghost.querySelectorAll("input"))
			input.replaceWith(make("i", "", input.value));
		ghost.ariaHidden = "true";
		table.append(ghost);
		table.style.top = `${line.offsetTop - 2}px`;
		table.style.left = `${figure.querySelector("table").offsetLeft}px`;
		figure.append(table);
		const frames = isStill()
			? [{ opacity: 1 }, { opacity: 0 }]
			: [
					{ opacity: 1 },
					{ opacity: 1, transform: `translateY(${way}px)`, offset: 0.8 },
					{ opacity: 0, transform: `translateY(${way}px)` },
				];
		table.animate(frames, options).finished.then(() => table.remove());
	}
	const glow = [{ opacity: 0.25 }, { opacity: 0.25, offset: 0.7 }, { opacity: 1 }];
	if (!isStill()) sum.animate(glow, options);
}
