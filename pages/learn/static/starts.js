/* The step "starts": four ways to start A and B, trained by the engine; a slider runs through the
   steps. Another learning rate or other random numbers are trained anew by the server. */

import { make, parsed } from "../shared/elements.js";
import { chart } from "./chart.js";
import { button, slider } from "./controls.js";
import { say, significant } from "./words.js";

const KINDS = {
	b_zero: "rs-line-accent",
	a_zero: "rs-line-third",
	both_zero: "rs-line-second",
	both_random: "rs-line-fourth",
};
const FLOOR = 1e-4;
const FIRST_STEP = 20;
const HEIGHT = 270;
const TICKS = [10, 1, 0.1, 0.01, 0.001];

const at = (start, step) => start.losses[Math.min(step, start.losses.length - 1)];

export function starts(box, props, watch, trigger) {
	const { words, steps } = parsed(props.value);
	let { trained, asked } = parsed(props.value);
	const holder = make("div", "rs-chart-holder");
	const curves = chart(holder, {
		label: words.chart,
		height: HEIGHT,
		x: {
			least: 0,
			most: steps,
			ticks: [0, 20, 40, 60, 80, 100, steps].map((n) => [n, n]),
			label: words.steps,
		},
		y: {
			least: FLOOR,
			most: 10,
			log: true,
			ticks: TICKS.map((n) => [n, significant(n)]),
			label: words.loss,
		},
	});
	const cards = Object.entries(KINDS).map(([key, kind]) => card(words[key], kind, words));
	const list = make("div", "rs-starts");
	list.append(...cards.map((one) => one.node));
	const problem = make("p", "rs-learn-note");

	const ask = (change) => {
		asked = { ...asked, ...change };
		props.value = JSON.stringify({ ...parsed(props.value), asked });
		trigger("input");
	};
	const step = slider({
		label: words.step,
		least: 0,
		most: steps,
		value: FIRST_STEP,
		text: (value) => String(value),
		moved: (value) => show(value),
	});
	const rate = slider({
		label: words.rate,
		least: 0.05,
		most: 2,
		step: 0.05,
		value: asked.learning_rate,
		text: (value) => value.toFixed(2),
		moved: () => {},
	});
	rate.input.addEventListener("change", () => ask({ learning_rate: rate.input.valueAsNumber }));
	const buttons = make("div", "rs-learn-buttons");
	buttons.append(button(words.other, () => ask({ seed: (asked.seed + 1) % 1000 })));
	const controls = make("div", "rs-sliders");
	controls.append(step.row, rate.row, buttons);
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(holder, controls, list, problem);

	function show(number) {
		const ys = trained.starts.map((start) => [at(start, number), KINDS[start.kind]]);
		curves.mark(number, ys);
		trained.starts.forEach((start, i) => {
			cards[i].show(start, number, trained.base_loss);
		});
	}

	function draw() {
		({ trained, asked } = parsed(props.value));
		curves.lines(
			trained.starts.map(({ kind, losses }) => ({
				kind: KINDS[kind],
				points: losses.map((loss, i) => [i, Math.max(FLOOR, loss)]),
			})),
		);
		problem.textContent = say(words.drawn, { seed: asked.seed, rate: asked.learning_rate });
		rate.set(asked.learning_rate);
		show(step.input.valueAsNumber);
	}
	draw();
	watch("value", draw);
}

/* One start in words and numbers. */
function card({ title, text }, kind, words) {
	const box = make("section", `rs-start ${kind}`);
	const [before, gradients, now] = [make("p"), make("p"), make("p", "rs-start-now")];
	const sentence = make("p", "rs-start-text");
	box.append(make("h3", "", title), sentence, before, gradients, now);
	const show = (start, step, base) => {
		const values = { loss: significant(start.losses[0]), base: significant(base) };
		sentence.textContent = say(text, values);
		before.textContent = say(words.before, { shift: significant(start.shift), ...values });
		gradients.textContent = say(words.gradients, {
			A: significant(start.grad_A),
			B: significant(start.grad_B),
		});
		const stopped = step >= start.losses.length;
		now.textContent = stopped
			? say(words.diverged, { step: start.losses.length })
			: say(words.now, { step, loss: significant(at(start, step)) });
	};
	return { node: box, show };
}
