/* The step "choose": which rank to start with, on an axis; the server asks the advisor for the task
   and the rows that are chosen. */

import { make, parsed } from "../shared/elements.js";
import { slider } from "./controls.js";
import { say } from "./words.js";

const MOST_RANK = 256;
const STEPS_A_DECADE = 10;

const place = (rank) => (100 * Math.log2(rank)) / Math.log2(MOST_RANK);

export function choose(box, props, watch, trigger) {
	const { words, cases, tasks } = parsed(props.value);
	const ask = (change) => {
		const content = parsed(props.value);
		props.value = JSON.stringify({ ...content, asked: { ...content.asked, ...change } });
		trigger("input");
	};

	const examples = make("div", "rs-choice");
	examples.setAttribute("role", "group");
	examples.setAttribute("aria-label", words.cases);
	const buttons = cases.map((one) => {
		const node = make("button", "rs-button rs-small", one.title);
		node.type = "button";
		node.addEventListener("click", () => ask({ task: one.task, rows: one.rows }));
		examples.append(node);
		return node;
	});

	const field = make("label", "rs-slide rs-pick");
	const select = make("select");
	for (const [key, name] of tasks) {
		const option = make("option", "", name);
		option.value = key;
		select.append(option);
	}
	select.addEventListener("change", () => ask({ task: select.value }));
	field.append(make("span", "", words.task), select);
	const rowsOf = (position) => Number((10 ** (position / STEPS_A_DECADE)).toPrecision(1));
	const rows = slider({
		label: words.rows,
		least: STEPS_A_DECADE,
		most: 6 * STEPS_A_DECADE,
		value: 27,
		text: (position) => rowsOf(position).toLocaleString("en-US"),
		moved: () => {},
	});
	rows.input.addEventListener("change", () => ask({ rows: rowsOf(rows.input.valueAsNumber) }));
	const controls = make("div", "rs-sliders");
	controls.append(field, rows.row);

	const axis = make("div", "rs-ranks");
	axis.setAttribute("aria-hidden", "true");
	const [range, best] = [make("i", "rs-ranks-range"), make("b", "rs-ranks-best")];
	axis.append(range, best);
	for (let rank = 1; rank <= MOST_RANK; rank *= 2) {
		const tick = make("span", "", rank);
		tick.style.left = `${place(rank)}%`;
		axis.append(tick);
	}
	const told = make("p", "rs-learn-words");
	told.setAttribute("role", "status");
	const reasons = make("ol", "rs-reasons");
	const link = make("a", "rs-button rs-small rs-strong");
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(examples, controls, axis, told, reasons, link);

	function draw() {
		const { asked, answer } = parsed(props.value);
		select.value = asked.task;
		rows.set(Math.round(STEPS_A_DECADE * Math.log10(asked.rows)));
		cases.forEach((one, i) => {
			const isThis = one.task === asked.task && one.rows === asked.rows;
			buttons[i].setAttribute("aria-pressed", String(isThis));
		});
		const { rank, low, high } = answer;
		range.style.left = `${place(low)}%`;
		range.style.width = `${place(high) - place(low)}%`;
		best.style.left = `${place(rank)}%`;
		best.textContent = rank;
		told.textContent = say(words.answer, answer);
		reasons.replaceChildren(...answer.reasons.map(reason));
		link.href = answer.link;
		link.textContent = say(words.train, answer);
	}

	function reason({ text, source, url }) {
		const node = make("li");
		const from = url ? make("a", "", source) : make("span", "", source);
		if (url) Object.assign(from, { href: url, target: "_blank", rel: "noopener" });
		node.append(`${text} `, from);
		return node;
	}
	draw();
	watch("value", draw);
}
