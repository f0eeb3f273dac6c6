/* A matrix as a table of numbers, coloured by value; its cells may be edited. */

import { make } from "../shared/elements.js";
import { say, shown } from "./words.js";

export const largest = (rows) => Math.max(1e-9, ...rows.flat().map(Math.abs));

const LIMIT = 1000;

function read(text) {
	const number = Number(text.trim().replace(",", ".").replace("−", "-"));
	return text.trim() !== "" && Math.abs(number) <= LIMIT ? number : undefined;
}

/* `name` stands in the caption and in what a screen reader hears. `changed(i, j, value)` makes the
   cells editable; `wrong(text)` is told what is no number, and "" once all are. */
export function cells(name, rows, { words, changed, wrong, digits = 2 } = {}) {
	const figure = make("figure", "rs-cells");
	const table = make("table");
	const size = `${rows.length} × ${rows[0].length}`;
	table.setAttribute("aria-label", `${name}, ${size}`);
	const boxes = rows.map((row, i) => {
		const line = make("tr");
		const made = row.map((_, j) => {
			const cell = make("td");
			if (changed) cell.append(field(i, j));
			line.append(cell);
			return cell;
		});
		table.append(line);
		return made;
	});
	const caption = make("figcaption");
	caption.append(make("b", "", name), ` ${size}`);
	figure.append(table, caption);

	function field(i, j) {
		const input = make("input");
		Object.assign(input, { type: "text", inputMode: "decimal", autocomplete: "off" });
		input.setAttribute("aria-label", say(words.cell, { name, row: i + 1, column: j + 1 }));
		input.addEventListener("focus", () => input.select());
		input.addEventListener("input", () => {
			const number = read(input.value);
			input.setAttribute("aria-invalid", String(number === undefined));
			wrong?.(number === undefined ? say(words.wrong, { text: input.value.slice(0, 20) }) : "");
			if (number !== undefined) changed(i, j, number);
		});
		return input;
	}

	/* New numbers in the same cells; the one being typed in stays as it is typed. */
	function set(next, most = largest(next)) {
		next.forEach((row, i) => {
			row.forEach((value, j) => {
				const cell = boxes[i][j];
				const input = cell.firstElementChild;
				const part = Math.min(1, Math.abs(value) / most);
				cell.style.setProperty("--part", `${Math.round(46 * part)}%`);
				cell.classList.toggle("rs-minus", value < 0);
				if (!input) cell.textContent = shown(value, digits);
				else if (input !== document.activeElement) {
					input.value = shown(value, digits);
					input.removeAttribute("aria-invalid");
				}
			});
		});
	}

	set(rows);
	return { figure, set, boxes };
}
