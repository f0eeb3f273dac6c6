/* A part of a matrix at full resolution, read from the server. */

import { make } from "../shared/elements.js";
import { tr } from "../shared/language.js";
import { Canvas } from "./canvas.js";
import { rangeOf } from "./colours.js";
import { button, numberField } from "./controls.js";
import { grouped, rounded } from "./numbers.js";
import { fetched, floats } from "./server.js";

const SIZE = 64; // rows and columns

export class ExactPart {
	constructor(tell) {
		this.node = make("section", "rs-exact");
		this.node.hidden = true;
		this.tell = tell;
		this.generation = 0;
	}

	close() {
		this.node.hidden = true;
		this.generation++;
	}

	moveTo(k) {
		if (!this.node.hidden && k !== this.k)
			this.open(this.content, this.colours, k, this.row, this.column);
	}

	async open(content, colours, k, row, column) {
		Object.assign(this, { content, colours, k, row, column });
		const generation = ++this.generation;
		try {
			const place = `k=${k}&row=${row}&column=${column}&size=${SIZE}`;
			const answer = await fetched(`${content.address}/window?${place}`);
			const found = await answer.json();
			if (generation === this.generation) this.draw(found);
		} catch (error) {
			this.tell(error.message);
		}
	}

	draw(found) {
		const original = floats(found.original);
		const range = rangeOf(original);
		const reach = (range.high - range.low) / 2 || 1;
		const around = { low: -reach, high: reach };
		const map = this.colours[range.map];
		const pictures = make("div", "rs-pictures");
		pictures.append(
			this.figure(tr("Original W"), original, found, range, map, ""),
			this.figure(tr("Rank k"), floats(found.rank_k), found, range, map, `k = ${grouped(this.k)}`),
			this.figure(
				tr("Difference"),
				floats(found.difference),
				found,
				around,
				this.colours.signed,
				`± ${rounded(reach)}`,
			),
		);
		this.node.replaceChildren(this.head(found), pictures);
		this.node.hidden = false;
	}

	figure(title, values, { height, width }, range, map, note) {
		const canvas = new Canvas(tr("{title}, exact part", { title }));
		canvas.size(height, width);
		canvas.draw(values, null, range, map);
		const caption = make("figcaption");
		caption.append(make("b", "", title), make("span", "", note));
		const figure = make("figure");
		figure.append(canvas.node, caption);
		return figure;
	}

	head({ row, column, height, width }) {
		const [rows, columns] = this.content.shape;
		const span = (first, count) =>
			tr("{low} to {high}", { low: grouped(first + 1), high: grouped(first + count) });
		const words = tr("Exactly: rows {rows}, columns {columns}", {
			rows: span(row, height),
			columns: span(column, width),
		});
		const inside = (value, most) => Math.min(most, Math.max(1, Math.round(value || 1))) - 1;
		const open = (at, across) => this.open(this.content, this.colours, this.k, at, across);
		const head = make("div", "rs-panel-head");
		head.append(
			make("h3", "", words),
			numberField(tr("from row"), { min: 1, max: rows, value: row + 1 }, (value) =>
				open(inside(value, rows), column),
			),
			numberField(tr("from column"), { min: 1, max: columns, value: column + 1 }, (value) =>
				open(row, inside(value, columns)),
			),
			button(tr("Close"), () => this.close(), "rs-textbutton"),
		);
		return head;
	}
}
