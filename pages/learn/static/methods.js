/* The step "methods": one bar a method for the measure that is chosen, in its order. */

import { make, parsed } from "../shared/elements.js";
import { significant } from "./words.js";

export function methods(box, props, watch) {
	let measure = "eval_loss";
	const choice = make("div", "rs-choice");
	choice.setAttribute("role", "group");
	const list = make("ol", "rs-methods");
	const told = make("p", "rs-learn-words");
	const how = make("p", "rs-learn-note");
	box.classList.add("rs-sheet", "rs-lesson-panel");
	box.replaceChildren(choice, told, list, how);

	function draw() {
		const { rows, words, measures } = parsed(props.value);
		choice.setAttribute("aria-label", words.measure);
		choice.replaceChildren(
			...measures.map((name) => {
				const node = make("button", "rs-button rs-small", words[name]);
				node.type = "button";
				node.setAttribute("aria-pressed", String(name === measure));
				node.addEventListener("click", () => {
					measure = name;
					draw();
					choice.children[measures.indexOf(name)].focus();
				});
				return node;
			}),
		);
		const has = (row) => row[measure] !== null && row[measure] !== undefined;
		const sorted = rows.filter(has).sort((a, b) => a[measure] - b[measure]);
		const most = Math.max(...sorted.map((row) => row[measure]));
		list.replaceChildren(...sorted.map((row) => bar(row, measure, most)));
		told.textContent = words.about[measure];
		how.textContent = words.how;
	}
	draw();
	watch("value", draw);
}

const UNITS = { peak_memory_bytes: 2 ** 20 };

function bar(row, measure, most) {
	const line = make("li");
	const fill = make("i");
	fill.style.width = `max(2px, ${(100 * row[measure]) / most}%)`;
	const track = make("span", "rs-methods-track");
	track.append(fill);
	const value = row[measure] / (UNITS[measure] ?? 1);
	const text = value >= 1000 ? Math.round(value).toLocaleString("en-US") : significant(value);
	line.classList.toggle("rs-methods-own", row.is_lora);
	line.append(make("b", "", row.name), track, make("span", "", text));
	return line;
}
