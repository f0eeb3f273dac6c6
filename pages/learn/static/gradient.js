/* The step "gradient": one example through W, B and A, the gradients, and where a learning rate
   leads. All numbers are the engine's; the slider picks among the rates that it worked out. */

import { make, parsed } from "../shared/elements.js";
import { cells } from "./cells.js";
import { button, slider } from "./controls.js";
import { say, significant } from "./words.js";

const DIGITS = 4;
const EDITED = ["W", "B", "A", "x", "y"];
const columnOf = (vector) => vector.map((x) => [x]);
const asRows = (name, value) => (name === "x" || name === "y" ? columnOf(value) : value);
const written = (vector) => `(${vector.map(significant).join(", ")})`;

export function gradient(box, props, watch, trigger) {
	let content = parsed(props.value);
	const { words, start } = content;
	const problem = make("p", "rs-learn-wrong");
	problem.setAttribute("role", "alert");
	const ask = () => {
		props.value = JSON.stringify(content);
		trigger("input");
	};
	const given = Object.fromEntries(EDITED.map((name) => [name, edited(name)]));
	const derived = {
		grad_B: cells("∂L/∂B", content.grad_B, { digits: DIGITS }),
		grad_A: cells("∂L/∂A", content.grad_A, { digits: DIGITS }),
		B: cells("B − η ∂L/∂B", content.B, { digits: DIGITS }),
		A: cells("A − η ∂L/∂A", content.A, { digits: DIGITS }),
	};
	const lines = ["inner", "output", "error", "loss"].map(() => make("p", "rs-gradient-line"));
	const graph = curve(words, content.moved);
	const sentence = make("p", "rs-learn-words rs-gradient-words");
	sentence.setAttribute("role", "status");
	const rate = slider({
		label: words.rate,
		least: 0,
		most: content.moved.length - 1,
		value: content.moved.findIndex((one) => one.learning_rate === content.rate),
		text: (index) => String(content.moved[index].learning_rate),
		moved: (index) => draw(index),
	});
	const put = (next) => {
		problem.textContent = "";
		content = { ...content, ...next };
		ask();
	};
	const buttons = make("div", "rs-learn-buttons");
	const zeroB = () => put({ B: content.B.map((row) => row.map(() => 0)) });
	const again = () => put(structuredClone(start));
	buttons.append(button(words.zero, zeroB), button(words.again, again));

	const first = lineOf(...EDITED.map((name) => given[name].figure));
	const formulas = make("div", "rs-gradient-formulas");
	formulas.append(...lines);
	const gradients = lineOf(derived.grad_B.figure, derived.grad_A.figure);
	const moved = lineOf(derived.B.figure, derived.A.figure);
	const left = make("div", "rs-gradient-left");
	left.append(formulas, gradients, rate.row, moved);
	const right = make("div", "rs-gradient-right");
	right.append(graph.node, sentence);
	const panel = make("div", "rs-sheet rs-gradient");
	const both = make("div", "rs-gradient-two");
	both.append(left, right);
	panel.append(first, buttons, problem, both);
	box.replaceChildren(panel);

	function edited(name) {
		return cells(name, asRows(name, content[name]), {
			words,
			digits: DIGITS,
			changed: (i, j, value) => {
				content = structuredClone(content);
				if (name === "x" || name === "y") content[name][i] = value;
				else content[name][i][j] = value;
				ask();
			},
			wrong: (text) => {
				problem.textContent = text;
			},
		});
	}

	function draw(index) {
		const there = content.moved[index];
		derived.A.set(there.A);
		derived.B.set(there.B);
		graph.mark(index);
		sentence.textContent = meaning(words, content, there);
	}

	function drawAll() {
		for (const name of EDITED) given[name].set(asRows(name, content[name]));
		derived.grad_A.set(content.grad_A);
		derived.grad_B.set(content.grad_B);
		lines[0].textContent = `A x = ${written(content.inner)}`;
		lines[1].textContent = `h = W x + B A x = ${written(content.output)}`;
		lines[2].textContent = `e = h − y = ${written(content.error)}`;
		const squares = content.error.map((x) => `${significant(x)}²`.replace(/^−(.*)²$/, "(−$1)²"));
		lines[3].textContent = `L = ½ (${squares.join(" + ")}) = ${significant(content.loss)}`;
		graph.draw(content.moved);
		draw(rate.input.valueAsNumber);
	}
	drawAll();
	watch("value", () => {
		content = parsed(props.value);
		drawAll();
	});
}

function meaning(words, { loss, grad_A, grad_B, B, inner }, there) {
	const isZero = (rows) => rows.flat().every((x) => x === 0);
	if (isZero(grad_A) && isZero(grad_B)) return words.dead;
	if (isZero(B)) return words.zeroB;
	if (isZero(inner)) return words.zeroA;
	if (there.learning_rate === 0) return words.stays;
	const text = there.loss < loss ? words.falls : words.rises;
	return say(text, { before: significant(loss), after: significant(there.loss) });
}

function lineOf(...figures) {
	const line = make("div", "rs-gradient-row");
	line.append(...figures);
	return line;
}

const WIDTH = 300;
const HEIGHT = 150;

/* The loss for every learning rate, up to twice the loss before, with a point that moves. */
function curve(words, moved) {
	const space = "http://www.w3.org/2000/svg";
	const svg = document.createElementNS(space, "svg");
	svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
	svg.setAttribute("role", "img");
	const [level, line, point] = ["line", "polyline", "circle"].map((kind) => {
		const part = document.createElementNS(space, kind);
		svg.append(part);
		return part;
	});
	point.setAttribute("r", 6);
	const figure = make("figure", "rs-gradient-curve");
	const labels = make("figcaption", "", words.curve);
	const values = make("p", "rs-gradient-losses");
	const [before, after] = [make("b"), make("b")];
	values.append(`${words.before} `, before, make("span", "", "→"), `${words.after} `, after);
	figure.append(values, svg, labels);
	let places = [];
	let losses = [];

	function draw(next) {
		losses = next.map((one) => one.loss);
		const most = Math.max(2 * losses[0], 1e-12);
		const y = (loss) => HEIGHT - 4 - ((HEIGHT - 12) * loss) / most;
		places = losses.map((loss, i) => [8 + ((WIDTH - 16) * i) / (losses.length - 1), y(loss)]);
		line.setAttribute(
			"points",
			places.map((place) => place.map((x) => x.toFixed(1)).join()).join(" "),
		);
		for (const [name, value] of [
			["x1", 0],
			["x2", WIDTH],
			["y1", y(losses[0])],
			["y2", y(losses[0])],
		]) {
			level.setAttribute(name, value);
		}
		before.textContent = significant(losses[0]);
	}

	function mark(index) {
		point.setAttribute("cx", places[index][0]);
		point.setAttribute("cy", Math.max(8, places[index][1]));
		after.textContent = significant(losses[index]);
		svg.setAttribute("aria-label", `${words.curve}. ${words.after} ${after.textContent}`);
	}
	draw(moved);
	return { node: figure, draw, mark };
}
