/* The step "SVD": a matrix as a sum of directions, its factors as numbers, and what the first k of
   them rebuild. The decomposition is the engine's; here only k moves. */

import { make, parsed } from "../shared/elements.js";
import { cells, largest, markCells } from "./cells.js";
import { button, isStill, slider } from "./controls.js";
import { transposed } from "./linear.js";
import { percent, say, significant, sub } from "./words.js";

const SPLIT_MS = 900;
const STAGGER_MS = 140;

export function svdPicture(box, props) {
	const { words, ...found } = parsed(props.value);
	const { matrix, s } = found;
	const [u, v] = upright(found.u, found.v);
	const directions = s.map((_, i) => u[i].map((x) => v[i].map((y) => s[i] * x * y)));
	const sums = partialSums(directions);
	const most = largest(matrix);

	const sum = sumLine(matrix, directions, s, most);
	const left = cells("U", transposed(u));
	const middle = cells(
		"Σ",
		s.map((value, i) => s.map((_, j) => (i === j ? value : 0))),
	);
	const right = cells("Vᵀ", v);
	const rebuilt = cells(words.rebuilt, matrix);
	const rest = cells(words.rest, matrix);
	const figures = tiles(words);
	const sentence = make("p", "rs-learn-words");
	sentence.setAttribute("role", "status");

	const chosen = slider({
		label: words.k,
		least: 1,
		most: s.length,
		value: found.k,
		text: String,
		moved: draw,
	});
	chosen.row.classList.add("rs-svd-k");
	const head = make("div", "rs-svd-head");
	head.append(
		chosen.row,
		button(words.split, () => split(sum)),
	);
	const factors = make("div", "rs-svd-factors");
	factors.append(left.figure, make("span", "rs-svd-sign", "·"), middle.figure);
	factors.append(make("span", "rs-svd-sign", "·"), right.figure);
	const result = make("div", "rs-svd-factors");
	result.append(rebuilt.figure, rest.figure, figures.node);
	const panel = make("div", "rs-sheet rs-svd");
	panel.append(head, sentence, sum.node, factors, result);
	box.replaceChildren(panel);

	function draw(k) {
		for (const [i, part] of sum.parts.entries()) part.classList.toggle("rs-faded", i >= k);
		markCells(left, "rs-left-out", (_, j) => j >= k);
		markCells(middle, "rs-left-out", (i, j) => i >= k || j >= k);
		markCells(right, "rs-left-out", (i) => i >= k);
		rebuilt.set(sums[k - 1], most);
		rest.set(
			matrix.map((row, i) => row.map((x, j) => x - sums[k - 1][i][j])),
			most,
		);
		const energy = percent(found.energy[k - 1], 3);
		figures.show([
			`${energy} %`,
			found.errors[k] < 1e-9 ? "0" : significant(found.errors[k]),
			String(k * (2 * s.length + 1)),
		]);
		const text = found.errors[k] < 1e-9 ? words.exact : words.close;
		sentence.textContent = say(text, { k, energy });
	}
	draw(found.k);
}

/* The sign of a pair is free: the larger numbers of v are made positive. */
function upright(u, v) {
	const signs = v.map((one) => {
		const largestPart = one.reduce(
			(best, x) => (Math.abs(x) > Math.abs(best) + 1e-12 ? x : best),
			0,
		);
		return largestPart < 0 ? -1 : 1;
	});
	return [u, v].map((vectors) => vectors.map((one, i) => one.map((x) => signs[i] * x)));
}

function partialSums(directions) {
	const sums = [];
	for (const one of directions) {
		const before = sums.at(-1);
		sums.push(one.map((row, i) => row.map((x, j) => x + (before ? before[i][j] : 0))));
	}
	return sums;
}

function heat(rows, most) {
	const grid = make("div", "rs-heat");
	for (const value of rows.flat()) {
		const cell = make("i", value < 0 ? "rs-heat-minus" : "");
		cell.style.setProperty("--part", `${Math.round((100 * Math.abs(value)) / most)}%`);
		grid.append(cell);
	}
	return grid;
}

/* S = σ₁ u₁ v₁ᵀ + … as small pictures to one scale of colour. */
function sumLine(matrix, directions, s, most) {
	const node = make("div", "rs-svd-sum");
	const whole = make("figure");
	whole.append(heat(matrix, most), make("figcaption", "", "S"));
	const parts = directions.map((rows, i) => {
		const part = make("figure");
		const name = `${sub("σ", i + 1)} ${sub("u", i + 1)} ${sub("v", i + 1)}ᵀ`;
		const caption = make("figcaption", "", name);
		caption.append(make("b", "", `${sub("σ", i + 1)} = ${s[i] < 1e-12 ? "0" : significant(s[i])}`));
		part.append(heat(rows, most), caption);
		return part;
	});
	node.append(whole);
	parts.forEach((part, i) => {
		node.append(make("span", "rs-svd-sign", i ? "+" : "="), part);
	});
	return { node, whole, parts };
}

/* Every direction leaves the matrix for its place. With reduced motion they are there already. */
function split({ whole, parts }) {
	if (isStill()) return;
	const from = whole.getBoundingClientRect();
	parts.forEach((part, i) => {
		const to = part.getBoundingClientRect();
		const start = `translate(${from.left - to.left}px, ${from.top - to.top}px)`;
		part.animate([{ transform: start, opacity: 0.2 }, { transform: "none" }], {
			duration: SPLIT_MS,
			delay: i * STAGGER_MS,
			easing: "ease-in-out",
			fill: "backwards",
		});
	});
}

function tiles(words) {
	const node = make("dl", "rs-svd-tiles");
	const values = [
		[words.energy, words.energyNote],
		[words.error, words.errorNote],
		[words.numbers, words.numbersNote],
	].map(([label, note]) => {
		const tile = make("div");
		const value = make("dd");
		tile.append(make("dt", "", label), value, make("dd", "rs-learn-note", note));
		node.append(tile);
		return value;
	});
	const show = (texts) => {
		texts.forEach((text, i) => {
			values[i].textContent = text;
		});
	};
	return { node, show };
}
