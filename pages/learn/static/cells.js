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
   cells editable; `wrong(text)` is told what is no number, and "" once all are. `picked(i, j)` is
   told which cell one points at, or moves to with the arrow keys. */
export function cells(name, rows, { words, changed, wrong, picked, digits = 2 } = {}) {
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
	const title = make("b", "", name);
	caption.append(title, ` ${size}`);
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

	function rename(next) {
		title.textContent = next;
		table.setAttribute("aria-label", `${next}, ${size}`);
		for (const [i, row] of boxes.entries())
			for (const [j, cell] of row.entries()) {
				const label = say(words.cell, { name: next, row: i + 1, column: j + 1 });
				cell.firstElementChild?.setAttribute("aria-label", label);
			}
	}

	set(rows);
	if (picked) letPick(table, boxes, picked);
	return { figure, set, boxes, rename };
}

/* A class on those cells of a matrix for which `isOn(i, j)` holds. */
export function markCells({ boxes }, name, isOn) {
	for (const [i, row] of boxes.entries())
		for (const [j, cell] of row.entries()) cell.classList.toggle(name, isOn(i, j));
}

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function letPick(table, boxes, picked) {
	let [i, j] = [0, 0];
	const pick = (nextI, nextJ) => {
		i = Math.min(boxes.length - 1, Math.max(0, nextI));
		j = Math.min(boxes[0].length - 1, Math.max(0, nextJ));
		picked(i, j);
	};
	table.tabIndex = 0;
	table.dataset.arrows = "";
	table.addEventListener("keydown", (event) => {
		const way = ARROWS[event.key];
		if (!way) return;
		event.preventDefault();
		pick(i + way[0], j + way[1]);
	});
	for (const [y, row] of boxes.entries())
		for (const [x, cell] of row.entries()) cell.addEventListener("pointerover", () => pick(y, x));
}
