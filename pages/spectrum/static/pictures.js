/* The three pictures of a matrix: itself, its rank-k approximation, and the difference. They follow
   k in the browser, from the pooled factors; the server is asked for root mean squares alone. */

import { make } from "../shared/elements.js";
import { tr } from "../shared/language.js";
import { Canvas } from "./canvas.js";
import { colourMaps, rangeOf } from "./colours.js";
import { check } from "./controls.js";
import { grouped, rounded } from "./numbers.js";
import { PooledPicture } from "./pooled_picture.js";
import { fetched, floats } from "./server.js";

const VIEWS = [
	["original", () => tr("Original W")],
	["near", () => tr("Rank k")],
	["difference", () => tr("Difference")],
];
const EXACT_SIDE = 64; // rows and columns of the exact part around a press

export class Pictures {
	/* openExact(row, column): show the part around an entry. arrived(pictures): the first factors
	   of a new matrix are here. */
	constructor({ openExact, arrived }) {
		Object.assign(this, { openExact, arrived });
		this.generation = 0; // of the matrix: an answer for an earlier one is dropped
		this.amplified = false;
		this.asTiles = false; // as root mean squares of tiles
		this.build();
	}

	build() {
		this.canvases = {};
		this.captions = {};
		const row = make("div", "rs-pictures");
		for (const [name, title] of VIEWS) row.append(this.figure(name, title()));
		const switches = make("div", "rs-switches");
		switches.append(
			check(tr("Root mean square of each tile"), (on) => {
				this.asTiles = on;
				this.draw();
				if (on) this.loadTiles();
			}),
			check(tr("Amplify the difference"), (on) => {
				this.amplified = on;
				this.draw();
			}),
		);
		this.note = make("p", "rs-picture-note");
		this.node = make("div", "rs-picture-box");
		this.node.append(row, switches, this.note);
	}

	figure(name, title) {
		const canvas = new Canvas(title);
		canvas.node.addEventListener("click", (event) => this.openAround(canvas.node, event));
		canvas.node.addEventListener("keydown", (event) => {
			if (event.key === "Enter" && this.content?.id) this.openExact(0, 0);
		});
		this.canvases[name] = canvas;
		this.captions[name] = make("span");
		const caption = make("figcaption");
		caption.append(make("b", "", title), this.captions[name]);
		const figure = make("figure");
		figure.append(canvas.node, caption);
		return figure;
	}

	/* The part of 64 x 64 numbers around a press. */
	openAround(canvas, event) {
		if (!this.content?.id) return;
		const frame = canvas.getBoundingClientRect();
		const [rows, columns] = this.content.shape;
		const start = (share, length) => {
			const place = Math.floor(share * length) - EXACT_SIDE / 2;
			return Math.max(0, Math.min(length - 1, place));
		};
		this.openExact(
			start((event.clientY - frame.top) / frame.height, rows),
			start((event.clientX - frame.left) / frame.width, columns),
		);
	}

	/* ---- a matrix arrives ---------------------------------------------------------------- */

	/* The matrix alone, while its singular values are being computed. */
	preview(content) {
		this.begin(content);
		this.drawPreview();
		performance.mark("rankscope-first-picture");
	}

	drawPreview() {
		const { height, width, data } = this.content.picture;
		const values = floats(data);
		const range = rangeOf(values);
		const nothing = new Float32Array(height * width);
		this.resize(height, width);
		this.canvases.original.draw(values, null, range, this.colours[range.map]);
		this.captions.original.textContent = "";
		for (const name of ["near", "difference"]) {
			this.canvases[name].draw(nothing, null, { low: -1, high: 1 }, this.colours.signed);
			this.captions[name].textContent = tr("being computed");
		}
	}

	/* The computation was given up; the picture of the matrix stays. */
	stopped() {
		this.captions.near.textContent = this.captions.difference.textContent = tr("stopped");
	}

	/* A decomposed matrix, first at k. */
	show(content, k) {
		this.begin(content);
		const { height, width, ranks } = content.pooled;
		this.picture = new PooledPicture(height, width, ranks);
		this.k = k;
		this.resize(height, width);
		this.load();
	}

	begin(content) {
		this.content = content;
		this.generation++;
		this.picture = this.range = this.tiles = null;
		this.colours = colourMaps();
		this.note.textContent = "";
	}

	resize(height, width) {
		for (const [name] of VIEWS) this.canvases[name].size(height, width, this.content.shape);
	}

	/* The pooled factors come in parts; the first is enough to draw. */
	async load() {
		const { picture, content, generation } = this;
		try {
			do {
				const first = picture.have;
				const answer = await fetched(`${content.address}/factors?first=${first}`);
				const buffer = await answer.arrayBuffer();
				if (generation !== this.generation) return;
				picture.take(buffer, first);
				if (first === 0) {
					this.range = rangeOf(picture.original);
					this.arrived(this);
				}
				if (first === 0 || this.k > first) this.draw();
				if (first === 0) performance.mark("rankscope-rank-k");
			} while (picture.have < picture.ranks);
			this.prepare();
		} catch (error) {
			if (generation === this.generation) this.note.textContent = error.message;
		}
	}

	/* Stored pictures for quick jumps, made while there is nothing else to do. */
	prepare() {
		const { picture, generation } = this;
		const idle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
		const step = () => {
			if (generation === this.generation && picture.prepare()) idle(step);
		};
		idle(step);
	}

	/* Root mean squares at the present k, which only the server can compute. */
	async loadTiles() {
		const { content, generation, k } = this;
		if (!content?.id) return;
		this.note.textContent = tr("Computing the root mean squares …");
		try {
			const answer = await fetched(`${content.address}/tiles?k=${k}`);
			const { height, width, original, rank_k: near, difference } = await answer.json();
			if (generation !== this.generation || !this.asTiles) return;
			const values = { original, near, difference };
			for (const name of Object.keys(values)) values[name] = floats(values[name]);
			this.tiles = { height, width, values };
			this.draw();
		} catch (error) {
			if (generation === this.generation) this.note.textContent = error.message;
		}
	}

	/* ---- drawing ------------------------------------------------------------------------- */

	moveTo(k) {
		this.k = k;
		this.draw();
	}

	/* k has rested. */
	settle() {
		if (this.asTiles) this.loadTiles();
	}

	/* The page went from light to dark, or back. */
	recolour() {
		if (!this.content) return;
		this.colours = colourMaps();
		if (this.content.id) this.draw();
		else this.drawPreview();
	}

	draw() {
		if (!this.picture?.have || !this.range) return;
		if (this.asTiles && this.tiles) this.drawTiles();
		else this.drawPooled();
	}

	drawPooled() {
		const { picture, range, colours, canvases, captions } = this;
		this.resize(picture.height, picture.width);
		const at = picture.moveTo(this.k);
		// The original is painted once for each matrix and each set of colours.
		if (this.painted?.picture !== picture || this.painted.colours !== colours) {
			canvases.original.draw(picture.original, null, range, colours[range.map]);
			this.painted = { picture, colours };
		}
		canvases.near.draw(picture.near, null, range, colours[range.map]);
		const reach = this.differenceReach();
		const around = { low: -reach, high: reach };
		canvases.difference.draw(picture.original, picture.near, around, colours.signed);
		captions.original.textContent =
			range.map === "grey"
				? tr("{low} to {high}", { low: rounded(range.low), high: rounded(range.high) })
				: `± ${rounded(range.high)}`;
		captions.near.textContent = `k = ${grouped(at)}`;
		captions.difference.textContent = `± ${rounded(reach)}`;
		this.note.textContent = this.noteAt(at);
	}

	/* The difference's scale: half the original's range, or its own largest value. */
	differenceReach() {
		const { picture, range } = this;
		if (!this.amplified) return (range.high - range.low) / 2 || 1;
		let most = 0;
		for (let i = 0; i < picture.near.length; i++) {
			const size = Math.abs(picture.original[i] - picture.near[i]);
			if (size > most) most = size;
		}
		return most || 1;
	}

	noteAt(at) {
		const [rows, columns] = this.content.shape;
		const { height, width, ranks } = this.picture;
		const words = [];
		if (rows > height || columns > width) {
			words.push(
				tr(
					"Each of the {height} × {width} points is the mean of a tile, in which opposite signs cancel. Click for an exact part, or switch to root mean squares.",
					{ height: grouped(height), width: grouped(width) },
				),
			);
		}
		if (at < this.k && at === ranks && ranks > 0) {
			words.push(
				tr("The pictures follow k up to {ranks}; all numbers follow it to the end.", {
					ranks: grouped(ranks),
				}),
			);
		}
		return words.join(" ");
	}

	drawTiles() {
		const { height, width, values } = this.tiles;
		const range = { ...rangeOf(values.original), low: 0 };
		this.resize(height, width);
		for (const [name] of VIEWS) {
			this.canvases[name].draw(values[name], null, range, this.colours.grey);
			this.captions[name].textContent = tr("root mean square, 0 to {high}", {
				high: rounded(range.high),
			});
		}
		this.painted = null;
		this.note.textContent = tr(
			"Each point is the root mean square of a tile, which cancelling signs cannot hide.",
		);
	}
}
