/* A grid of modules: layers down, kinds across, coloured by one measure at a time.
   Values are JSON from pages/spectrum/module_grid.py; text is set as text, never as markup. */

import { make } from "../shared/elements.js";
import { tr } from "../shared/language.js";
import { rememberState } from "./address.js";
import { button, whenShown } from "./controls.js";
import { grouped, rounded } from "./numbers.js";

const written = (value, kind) => {
	if (value === null || value === undefined) return "–";
	if (kind === "share") return `${rounded(100 * value)} %`;
	if (kind === "count") return grouped(value);
	return rounded(value);
};

/* Two digits are enough inside a cell. */
const brief = (value, kind) => {
	if (value === null || value === undefined) return "–";
	if (kind === "count") return grouped(value);
	const shown = kind === "share" ? 100 * value : value;
	const text =
		Math.abs(shown) >= 1000 || (shown !== 0 && Math.abs(shown) < 0.001)
			? shown.toExponential(0)
			: Number(shown.toPrecision(2)).toString();
	return kind === "share" ? `${text} %` : text;
};

const CONTROLS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

class ModuleGrid {
	constructor(box, label, choose) {
		Object.assign(this, { box, label, choose });
		this.sentence = make("p", "rs-grid-sentence");
		this.measures = make("div", "rs-grid-measures");
		this.measures.setAttribute("role", "radiogroup");
		this.measures.setAttribute("aria-label", tr("Colored by"));
		this.help = make("p", "rs-grid-help");
		this.frame = make("div", "rs-grid-frame");
		this.notes = make("div");
		box.append(this.sentence, this.measures, this.help, this.frame, this.notes);
		box.addEventListener("keydown", (event) => this.walk(event));
		whenShown(box, () => this.content && this.remember());
	}

	show(content) {
		this.content = content;
		this.box.hidden = !content.cells.length;
		this.sentence.textContent = content.sentence;
		this.notes.replaceChildren(...content.notes.map((note) => make("p", "rs-note", note)));
		const known = content.measures.filter(({ key }) =>
			content.cells.some(({ numbers }) => numbers[key] !== null && numbers[key] !== undefined),
		);
		if (!known.some(({ key }) => key === this.measure?.key)) this.measure = known[0];
		else this.measure = known.find(({ key }) => key === this.measure.key);
		this.drawMeasures(known);
		this.drawTable();
		this.chosen = content.chosen || this.chosen;
		this.mark();
		this.remember();
	}

	remember() {
		if (this.box.offsetParent === null || !Object.keys(this.content.state).length) return;
		const known = this.content.cells.some(({ module }) => module === this.chosen);
		rememberState({ ...this.content.state, ...(known ? { module: this.chosen } : {}) });
	}

	drawMeasures(known) {
		const nodes = known.map((measure) => {
			const here = measure.key === this.measure.key;
			const node = button(measure.title, () => this.colourBy(measure, known), "rs-chip");
			node.setAttribute("role", "radio");
			node.setAttribute("aria-checked", String(here));
			return node;
		});
		this.measures.replaceChildren(...nodes);
	}

	colourBy(measure, known) {
		this.measure = measure;
		this.drawMeasures(known);
		this.drawTable();
		this.mark();
		[...this.measures.children]
			.find((node) => node.getAttribute("aria-checked") === "true")
			?.focus();
	}

	drawTable() {
		const { cells } = this.content;
		const unique = (values) => [...new Set(values)];
		const rows = unique(cells.map(({ row }) => row));
		const columns = unique(
			cells
				.map(({ column }) => column)
				.filter((column) => cells.some((cell) => cell.column === column && cell.row !== "outside")),
		);
		const outside = cells.filter(({ row }) => row === "outside");
		const table = make("table");
		table.style.minWidth = `${80 + 74 * columns.length}px`;
		table.append(make("caption", "rs-unseen", `${this.label}: ${this.measure.title}`));
		const head = make("tr");
		head.append(make("td", "rs-grid-corner"), ...columns.map((column) => this.columnHead(column)));
		table.append(head);
		this.nodes = [];
		this.range();
		for (const row of rows) {
			if (row !== "outside") table.append(this.row(row, columns, cells));
		}
		this.frame.replaceChildren(table, ...this.outsiders(outside), this.legend());
		this.help.textContent = this.measure.help;
		const first = this.nodes.flat().find(Boolean);
		if (first) first.tabIndex = 0;
	}

	/* self_attn.q_proj: the part before the dot above, smaller. */
	columnHead(column) {
		const cell = make("th");
		cell.scope = "col";
		const dot = column.lastIndexOf(".");
		if (dot > 0) cell.append(make("small", "", column.slice(0, dot)));
		cell.append(make("span", "", column.slice(dot + 1)));
		return cell;
	}

	row(title, columns, cells) {
		const line = make("tr");
		const head = make("th", "", title);
		head.scope = "row";
		line.append(head);
		const nodes = columns.map((column) => {
			const cell = cells.find((one) => one.row === title && one.column === column);
			const holder = make("td");
			const node = cell ? this.cell(cell) : null;
			if (node) holder.append(node);
			line.append(holder);
			return node;
		});
		this.nodes.push(nodes);
		return line;
	}

	outsiders(cells) {
		if (!cells.length) return [];
		const box = make("div", "rs-grid-outside");
		const nodes = cells.map((cell) => {
			const node = this.cell(cell);
			const label = make("div");
			label.append(make("span", "", cell.module), node);
			box.append(label);
			return node;
		});
		this.nodes.push(nodes);
		return [box];
	}

	/* Least and most of the measure over all cells. */
	range() {
		const { key, log } = this.measure;
		const scaled = this.content.cells
			.map(({ numbers }) => this.scale(numbers[key], log))
			.filter((value) => value !== null);
		this.low = log ? Math.min(...scaled) : Math.min(0, ...scaled);
		this.high = Math.max(...scaled);
	}

	scale(value, log) {
		if (value === null || value === undefined) return null;
		if (!log) return value;
		return value > 0 ? Math.log10(value) : null;
	}

	cell({ module, numbers, sentence }) {
		const { key, kind, title, log } = this.measure;
		const value = numbers[key];
		const at = this.scale(value, log);
		const share =
			at === null ? 0 : this.high > this.low ? (at - this.low) / (this.high - this.low) : 0.5;
		const node = button(brief(value, kind), () => this.press(module), "rs-grid-cell");
		node.tabIndex = -1;
		node.dataset.module = module;
		node.style.setProperty("--share", `${Math.round(8 + 92 * share)}%`);
		node.classList.toggle("rs-grid-strong", share > 0.77);
		const words = tr("{module}: {title} {value}. {sentence}", {
			...{ module, title, sentence },
			value: written(value, kind),
		});
		node.setAttribute("aria-label", words);
		node.title = words;
		return node;
	}

	legend() {
		const { kind, log } = this.measure;
		if (!(this.low <= this.high)) return ""; // no cell has the measure
		const back = (value) => written(log ? 10 ** value : value, kind);
		const box = make("div", "rs-grid-legend");
		box.append(make("span", "", back(this.low)), make("i"), make("span", "", back(this.high)));
		return box;
	}

	press(module) {
		this.chosen = module;
		this.mark();
		this.remember();
		this.choose(module);
	}

	mark() {
		this.box.querySelectorAll(".rs-grid-cell").forEach((node) => {
			const here = node.dataset.module === this.chosen;
			node.setAttribute("aria-pressed", String(here));
		});
	}

	/* The arrow keys go from cell to cell; Enter and space press one. */
	walk(event) {
		const step = CONTROLS[event.key];
		if (!step || !event.target.classList.contains("rs-grid-cell")) return;
		event.preventDefault();
		let row = this.nodes.findIndex((nodes) => nodes.includes(event.target));
		let column = this.nodes[row].indexOf(event.target);
		do {
			row += step[0];
			column += step[1];
		} while (
			this.nodes[row] &&
			column >= 0 &&
			column < this.nodes[row].length &&
			!this.nodes[row][column]
		);
		const next = this.nodes[row]?.[column];
		if (!next) return;
		event.target.tabIndex = -1;
		next.tabIndex = 0;
		next.focus();
	}
}

export function moduleGrid(element, props, watch, trigger, label) {
	const grid = new ModuleGrid(element.querySelector(".rs-grid"), label, (module) =>
		trigger("select", { module }),
	);
	const draw = () => {
		if (props.value) grid.show(JSON.parse(props.value));
		else grid.box.hidden = true;
	};
	draw();
	watch("value", draw);
}
