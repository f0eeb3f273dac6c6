/* The table of pages/shared/live.py: sortable columns, tick boxes, a CSV download. */

import { csv, download } from "./csv.js";
import { make, parsed } from "./elements.js";

function compare(a, b, numeric) {
	const missing = (value) => value === null || value === "";
	if (missing(a) || missing(b)) return missing(a) - missing(b);
	if (numeric) return Number(a) - Number(b);
	return String(a).localeCompare(String(b), undefined, { numeric: true });
}

/* A tick triggers "input"; the value then holds the ticked rows. */
export function table(element, props, watch, trigger) {
	const box = element.querySelector(".rs-table");
	let sorted = { column: -1, down: false };
	let ticked; // the person's choice: a value on its way must not undo it

	const draw = () => {
		const content = parsed(props.value);
		const focused = box.contains(document.activeElement)
			? document.activeElement.dataset.key
			: undefined;
		box.replaceChildren();
		if (!content) return;
		if (content.ticks) ticked ??= new Set(content.ticks.ticked);
		if (!content.rows.length) {
			box.append(make("p", "rs-none", content.empty));
			return;
		}
		box.append(scroller(content), footer(content));
		if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
	};

	const scroller = (content) => {
		const frame = make("div", "rs-scroll");
		frame.tabIndex = 0;
		frame.setAttribute("role", "region");
		frame.setAttribute("aria-label", box.dataset.label);
		const grid = make("table");
		grid.append(make("caption", "rs-unseen", box.dataset.label), head(content), body(content));
		frame.append(grid);
		return frame;
	};

	const head = (content) => {
		const row = make("tr");
		if (content.ticks) {
			const cell = make("th");
			cell.scope = "col";
			cell.append(make("span", "rs-unseen", content.ticks.label));
			row.append(cell);
		}
		content.columns.forEach((column, index) => {
			const cell = make("th", column.numeric ? "rs-number" : "");
			cell.scope = "col";
			const here = sorted.column === index;
			cell.setAttribute(
				"aria-sort",
				here ? (sorted.down ? "descending" : "ascending") : "none"
			);
			const button = make("button", "rs-sort", column.label);
			button.type = "button";
			button.dataset.key = "sort-" + index;
			button.append(make("span", "rs-arrow", here ? (sorted.down ? "↓" : "↑") : ""));
			button.addEventListener("click", () => {
				sorted = { column: index, down: here ? !sorted.down : column.numeric };
				draw();
			});
			cell.append(button);
			row.append(cell);
		});
		const section = make("thead");
		section.append(row);
		return section;
	};

	const body = (content) => {
		const order = content.rows.map((_, index) => index);
		if (sorted.column >= 0 && sorted.column < content.columns.length) {
			const column = sorted.column;
			const numeric = content.columns[column].numeric;
			order.sort((a, b) => {
				const found = compare(
					content.rows[a].raw[column],
					content.rows[b].raw[column],
					numeric
				);
				return sorted.down ? -found : found;
			});
		}
		const section = make("tbody");
		order.forEach((index) => section.append(line(content, index)));
		return section;
	};

	const line = (content, index) => {
		const row = make("tr");
		if (content.ticks) row.append(tickBox(content, index));
		content.rows[index].shown.forEach((text, column) => {
			const cell = make("td", content.columns[column].numeric ? "rs-number" : "");
			const address = column === 0 ? content.links[index] : null;
			if (address && address.startsWith("/") && !address.startsWith("//")) {
				const anchor = make("a", "", text);
				anchor.href = address;
				anchor.dataset.key = "link-" + address;
				cell.append(anchor);
			} else {
				cell.textContent = text;
			}
			row.append(cell);
		});
		return row;
	};

	const tickBox = (content, index) => {
		const { keys, fixed, most, label } = content.ticks;
		const key = keys[index];
		const tick = make("input");
		tick.type = "checkbox";
		tick.checked = key === fixed || ticked.has(key);
		tick.disabled = key === fixed || (!tick.checked && ticked.size >= most);
		tick.dataset.key = "tick-" + key;
		tick.setAttribute("aria-label", label + " " + content.rows[index].shown[0]);
		tick.addEventListener("change", () => {
			if (tick.checked) ticked.add(key);
			else ticked.delete(key);
			content.ticks.ticked = [...ticked];
			props.value = JSON.stringify(content);
			trigger("input");
		});
		const cell = make("td", "rs-tick");
		cell.append(tick);
		return cell;
	};

	const footer = (content) => {
		const bar = make("div", "rs-table-foot");
		const rows = content.rows.length;
		bar.append(make("span", "", rows.toLocaleString("en") + (rows === 1 ? " row" : " rows")));
		const button = make("button", "rs-button rs-small", "Download CSV");
		button.type = "button";
		button.dataset.key = "download";
		button.addEventListener("click", () => download(csv(content), box.dataset.file));
		bar.append(button);
		return bar;
	};

	draw();
	watch("value", draw);
}
