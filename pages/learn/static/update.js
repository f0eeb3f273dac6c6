/* The step "update": W, B and A with what follows from them; B and A may be edited, and a number of
   ΔW shows which row of B and which column of A it is made of. */

import { make, parsed } from "../shared/elements.js";
import { cells, largest, markCells } from "./cells.js";
import { button, slider } from "./controls.js";
import { product } from "./linear.js";
import { say, shown } from "./words.js";

const sign = (text) => make("span", "rs-update-sign", text);

export function update(box, props) {
	const start = parsed(props.value);
	const { words, W } = start;
	const copy = (rows) => rows.map((row) => [...row]);
	let [B, A] = [copy(start.B), copy(start.A)];
	let letters = ["B", "A"];
	let picked = [0, 0];
	const problem = make("p", "rs-learn-wrong");
	problem.setAttribute("role", "alert");
	const wrong = (text) => {
		problem.textContent = text;
	};

	const scaling = sign("");
	const tall = cells("B", B, {
		words,
		wrong,
		changed: (i, j, value) => {
			B[i][j] = value;
			draw();
		},
	});
	const flat = cells("A", A, {
		words,
		wrong,
		changed: (i, j, value) => {
			A[i][j] = value;
			draw();
		},
	});
	const delta = cells("ΔW", start.delta_weight, {
		picked: (i, j) => {
			picked = [i, j];
			draw();
		},
	});
	const base = cells("W", W);
	const adapted = cells("W′", start.adapted);

	const alpha = slider({
		label: words.alpha,
		least: 0,
		most: 8,
		step: 0.1,
		value: start.alpha,
		text: (value) => shown(value, 1),
		moved: () => draw(),
	});
	const swap = button(words.letters, () => {
		letters = letters.reverse();
		swap.textContent = letters[0] === "B" ? words.letters : words.ours;
		tall.rename(letters[0]);
		flat.rename(letters[1]);
		draw();
	});
	const put = (nextB, nextA) => {
		[B, A] = [nextB, nextA];
		problem.textContent = "";
		draw();
	};
	const zero = () =>
		put(
			B.map((row) => row.map(() => 0)),
			A,
		);
	const again = () => {
		alpha.set(start.alpha);
		put(copy(start.B), copy(start.A));
	};
	const buttons = make("div", "rs-learn-buttons");
	buttons.append(button(words.zero, zero), button(words.again, again), swap);

	const first = make("div", "rs-update-line");
	first.append(delta.figure, sign("="), scaling, sign("·"), tall.figure, sign("·"), flat.figure);
	const entry = make("p", "rs-update-entry");
	const second = make("div", "rs-update-line");
	second.append(adapted.figure, sign("="), base.figure, sign("+"), sign("ΔW"));
	const bars = sizes(words, start);
	const sentence = make("p", "rs-learn-words");
	sentence.setAttribute("role", "status");
	const panel = make("div", "rs-sheet rs-update");
	const hint = make("p", "rs-learn-note", words.pick);
	panel.append(sentence, first, entry, hint, alpha.row, buttons, problem, second, bars);
	box.replaceChildren(panel);

	function draw() {
		const factor = alpha.input.valueAsNumber / A.length;
		const change = product(B, A).map((row) => row.map((x) => factor * x));
		const sum = W.map((row, i) => row.map((x, j) => x + change[i][j]));
		tall.set(B);
		flat.set(A);
		delta.set(change);
		const most = largest([...W, ...sum]);
		base.set(W, most);
		adapted.set(sum, most);
		scaling.textContent = shown(factor);
		mark(change, factor);
		const changed = change.flat().filter((x) => x !== 0).length;
		sentence.textContent = changed
			? say(words.all, { small: start.lora_parameters, changed, whole: start.full_parameters })
			: words.same;
	}

	/* ΔW₁₃ = 1 · (1·2 + 0·(−1)) = 2, with its row of B and its column of A marked. */
	function mark(change, factor) {
		const [i, j] = picked;
		markCells(delta, "rs-marked", (y, x) => y === i && x === j);
		markCells(tall, "rs-marked", (y) => y === i);
		markCells(flat, "rs-marked", (_, x) => x === j);
		const inBrackets = (x) => (x < 0 ? `(${shown(x)})` : shown(x));
		const terms = A.map((row, t) => `${inBrackets(B[i][t])}·${inBrackets(row[j])}`).join(" + ");
		entry.textContent = `ΔW[${i + 1}, ${j + 1}] = ${shown(factor)} · (${terms}) = ${shown(change[i][j])}`;
	}
	draw();
}

/* 20 against 18. */
function sizes(words, { full_parameters: whole, lora_parameters: small }) {
	const node = make("div", "rs-update-sizes");
	for (const [name, count, kind] of [
		[words.whole, whole, ""],
		[words.small, small, " rs-learn-bar-low"],
	]) {
		const row = make("div", `rs-learn-bar${kind}`);
		const fill = make("i");
		fill.style.width = `${(100 * count) / whole}%`;
		const track = make("span");
		track.append(fill);
		row.append(make("span", "", name), track, make("b", "", say(words.count, { count })));
		node.append(row);
	}
	return node;
}
