/* The table of pages/shared/live.py: sortable columns, tick boxes, a CSV download. */

import { csv, download } from "./csv.js";
import { make, parsed } from "./elements.js";
import { tr } from "./language.js";

/* A tick triggers "input"; the value then holds the ticked rows. */
export function table(element, props, watch, trigger) {
	const drawn = new Table(element.querySelector(".rs-table"), props, () => trigger("input"));
	drawn.draw();
	watch("value", () => drawn.draw());
}

class Table {
	constructor(box, props, ticked) {
		this.box = box;
		this.props = props;
		this.tellTicked = ticked;
		this.sorted = { column: -1, down: false };
		this.showsAll = false; // also the columns that stand aside
		this.ticked = null; // the person's choice: a value on its way must not undo it
	}

	/* Whatever had the focus has it again afterwards, found by its key. */
	draw() {
		const { box } = this;
		const focused = box.contains(document.activeElement) ? document.activeElement.dataset.key : "";
		this.content = parsed(this.props.value);
		box.replaceChildren();
		if (!this.content) return;
		if (this.content.ticks) this.ticked ??= new Set(this.content.ticks.ticked);
		if (!this.content.rows.length) {
			box.append(make("p", "rs-none", this.content.empty));
			return;
		}
		box.append(this.scroller(), this.footer());
		if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
	}

	scroller() {
		const { label } = this.box.dataset;
		const frame = make("div", "rs-scroll");
		frame.tabIndex = 0;
		frame.setAttribute("role", "region");
		frame.setAttribute("aria-label", label);
		const grid = make("table");
		grid.append(make("caption", "rs-unseen", label), this.head(), this.body());
		frame.append(grid);
		return frame;
	}

	head() {
		const row = make("tr");
		if (this.content.ticks) {
			const cell = headCell();
			cell.append(make("span", "rs-unseen", this.content.ticks.label));
			row.append(cell);
		}
		for (const index of this.columnsShown()) {
			row.append(this.sortCell(this.content.columns[index], index));
		}
		const section = make("thead");
		section.append(row);
		return section;
	}

	/* The indices of the columns that are shown. */
	columnsShown() {
		const indices = [...this.content.columns.keys()];
		return indices.filter((index) => this.showsAll || !this.content.columns[index].aside);
	}

	sortCell(column, index) {
		const isSorted = this.sorted.column === index;
		const { down } = this.sorted;
		const cell = headCell(column.numeric ? "rs-number" : "");
		cell.setAttribute("aria-sort", isSorted ? (down ? "descending" : "ascending") : "none");
		const button = make("button", "rs-sort", column.label);
		button.type = "button";
		button.dataset.key = `sort-${index}`;
		button.append(make("span", "rs-arrow", isSorted ? (down ? "↓" : "↑") : ""));
		button.addEventListener("click", () => {
			this.sorted = { column: index, down: isSorted ? !down : column.numeric };
			this.draw();
		});
		cell.append(button);
		return cell;
	}

	body() {
		const section = make("tbody");
		section.append(...this.order().map((index) => this.row(index)));
		return section;
	}

	/* The indices of the rows in the order in which they are shown. */
	order() {
		const { rows, columns } = this.content;
		const { column, down } = this.sorted;
		const order = rows.map((_, index) => index);
		if (column < 0 || column >= columns.length) return order;
		const { numeric } = columns[column];
		return order.sort((a, b) => {
			const found = compare(rows[a].raw[column], rows[b].raw[column], numeric);
			return down ? -found : found;
		});
	}

	row(index) {
		const { columns, rows, links, ticks } = this.content;
		const row = make("tr");
		if (ticks) row.append(this.tickCell(index));
		for (const column of this.columnsShown()) {
			const text = rows[index].shown[column];
			const cell = make("td", columns[column].numeric ? "rs-number" : "");
			const address = column === 0 ? links[index] : null;
			cell.append(isOnThisServer(address) ? link(address, text) : text);
			row.append(cell);
		}
		return row;
	}

	tickCell(index) {
		const { keys, fixed, most, label } = this.content.ticks;
		const key = keys[index];
		const tick = make("input");
		tick.type = "checkbox";
		tick.checked = key === fixed || this.ticked.has(key);
		tick.disabled = key === fixed || (!tick.checked && this.ticked.size >= most);
		tick.dataset.key = `tick-${key}`;
		tick.setAttribute("aria-label", `${label} ${this.content.rows[index].shown[0]}`);
		tick.addEventListener("change", () => this.tick(key, tick.checked));
		const cell = make("td", "rs-tick");
		cell.append(tick);
		return cell;
	}

	tick(key, isTicked) {
		if (isTicked) this.ticked.add(key);
		else this.ticked.delete(key);
		this.content.ticks.ticked = [...this.ticked];
		this.props.value = JSON.stringify(this.content);
		this.tellTicked();
	}

	footer() {
		const count = this.content.rows.length;
		const bar = make("div", "rs-table-foot");
		bar.append(make("span", "", rowsInWords(count)));
		if (this.content.columns.some((column) => column.aside)) bar.append(this.allColumns());
		const button = make("button", "rs-button rs-small", tr("Download CSV"));
		button.type = "button";
		button.dataset.key = "download";
		button.addEventListener("click", () => download(csv(this.content), this.box.dataset.file));
		bar.append(button);
		return bar;
	}

	allColumns() {
		const button = make("button", "rs-button rs-small", tr("All columns"));
		button.type = "button";
		button.dataset.key = "all-columns";
		button.setAttribute("aria-pressed", this.showsAll);
		button.addEventListener("click", () => {
			this.showsAll = !this.showsAll;
			this.draw();
		});
		return button;
	}
}

function rowsInWords(rows) {
	const count = rows.toLocaleString("en");
	return rows === 1 ? tr("{count} row", { count }) : tr("{count} rows", { count });
}

function headCell(className) {
	const cell = make("th", className);
	cell.scope = "col";
	return cell;
}

function link(address, text) {
	const anchor = make("a", "", text);
	anchor.href = address;
	anchor.dataset.key = `link-${address}`;
	return anchor;
}

const isOnThisServer = (address) => address?.startsWith("/") && !address.startsWith("//");

/* Missing values come last, numbers by size, and texts as a person would order them. */
function compare(a, b, numeric) {
	const missing = (value) => value === null || value === "";
	if (missing(a) || missing(b)) return missing(a) - missing(b);
	if (numeric) return Number(a) - Number(b);
	return String(a).localeCompare(String(b), undefined, { numeric: true });
}
