/* Beside the pictures: W and its factors to scale, the first directions, a part at full
   resolution. */
window.rankscopeSpectrum = window.rankscopeSpectrum || {};
(() => {
	"use strict";
	const spectrum = window.rankscopeSpectrum;
	const THUMBNAILS = 6;
	const THUMBNAIL_SIDE = 96;
	const SIZE = 64; // rows and columns of a part at full resolution

	/* ---- W, U, Σ and Vᵀ to one scale; the part that k keeps is filled ----------------------- */

	spectrum.Product = class {
		constructor() {
			this.node = spectrum.make("div", "rs-product-box");
			this.blocks = spectrum.make("div", "rs-product");
			this.whole = rankscope.sizeBar("m · n", false);
			this.factors = rankscope.sizeBar("k (m + n)", true);
			const bars = spectrum.make("div", "rs-bars");
			bars.append(this.whole.row, this.factors.row);
			this.node.append(this.blocks, bars);
			new ResizeObserver(() => this.scale()).observe(this.node);
		}

		show([rows, columns], k) {
			const inner = Math.min(rows, columns);
			if (this.rows !== rows || this.columns !== columns) this.build(rows, columns, inner);
			const { U, S, V } = this.parts;
			const kept = Math.min(k, inner);
			const share = `max(2px, ${(100 * kept) / inner}%)`;
			U.fill.style.cssText = `height:100%;width:${share}`;
			S.fill.style.cssText = `height:${share};width:${share}`;
			V.fill.style.cssText = `width:100%;height:${share}`;
			const words = spectrum.count(kept);
			U.size.textContent = `${spectrum.count(rows)} × ${words}`;
			S.size.textContent = `${words} × ${words}`;
			V.size.textContent = `${words} × ${spectrum.count(columns)}`;
			this.fill(kept * (rows + columns), rows * columns);
		}

		/* The longer side in pixels, so that the four blocks stand in one line. */
		scale() {
			const side = Math.min(190, (this.node.clientWidth - 104) / this.inSides);
			if (side > 0) this.blocks.style.setProperty("--side", `${side}px`);
		}

		/* Bars of the numbers to store: the whole matrix, and its factors with Σ folded into U. */
		fill(low, full) {
			const most = Math.max(low, full);
			this.whole.show(full, most, spectrum.count(full));
			this.factors.show(low, most, spectrum.count(low));
		}

		build(rows, columns, inner) {
			Object.assign(this, { rows, columns });
			const side = Math.max(rows, columns);
			const W = this.block("W", "w", rows / side, columns / side);
			const U = this.block("U", "u", rows / side, inner / side);
			const S = this.block("Σ", "s", inner / side, inner / side);
			const V = this.block("Vᵀ", "v", inner / side, columns / side);
			W.fill.style.cssText = "width:100%;height:100%";
			W.size.textContent = `${spectrum.count(rows)} × ${spectrum.count(columns)}`;
			this.parts = { U, S, V };
			const sign = spectrum.make("span", "rs-sign", "≈");
			this.blocks.replaceChildren(W.figure, sign, U.figure, S.figure, V.figure);
			this.inSides = (2 * columns + 2 * inner) / side;
			this.scale();
		}

		block(name, kind, high, wide) {
			const figure = spectrum.make("figure");
			const area = spectrum.make("div", "rs-area");
			area.style.height = `max(3px, calc(var(--side) * ${high}))`;
			area.style.width = `max(3px, calc(var(--side) * ${wide}))`;
			const fill = spectrum.make("div", "rs-fill rs-fill-" + kind);
			const size = spectrum.make("span");
			const caption = spectrum.make("figcaption");
			caption.append(spectrum.make("b", "", name), size);
			area.append(fill);
			figure.append(area, caption);
			return { figure, fill, size };
		}
	};

	/* ---- the first directions: σ u vᵀ with u at its left and v above it ---------------------- */

	/* Means over neighbours, so that no thumbnail has more points than it shows. */
	function coarser(values) {
		if (values.length <= THUMBNAIL_SIDE) return values;
		const means = new Float32Array(THUMBNAIL_SIDE);
		for (let i = 0; i < THUMBNAIL_SIDE; i++) {
			const from = Math.round((i * values.length) / THUMBNAIL_SIDE);
			const part = values.subarray(from, Math.round(((i + 1) * values.length) / THUMBNAIL_SIDE));
			means[i] = part.reduce((sum, value) => sum + value, 0) / part.length;
		}
		return means;
	}

	spectrum.Layers = class {
		constructor(choose) {
			this.node = spectrum.make("div", "rs-directions");
			this.choose = choose;
			this.nodes = [];
		}

		show(picture, sigma, colours, k) {
			const count = Math.min(THUMBNAILS, picture.have);
			this.nodes = [];
			for (let i = 0; i < count && sigma[i] > 0; i++) {
				this.nodes.push(this.layer(picture, i, sigma[i], colours.signed));
			}
			this.node.replaceChildren(...this.nodes);
			this.moveTo(k);
		}

		moveTo(k) {
			this.nodes.forEach((node, i) => node.classList.toggle("rs-dropped", i >= k));
		}

		layer(picture, i, sigma, map) {
			const left = coarser(picture.left.subarray(i * picture.height, (i + 1) * picture.height));
			const right = coarser(picture.right.subarray(i * picture.width, (i + 1) * picture.width));
			const [height, width] = [left.length, right.length];
			const product = new Float32Array(height * width);
			left.forEach((value, row) => {
				for (let j = 0; j < width; j++) product[row * width + j] = value * right[j];
			});
			const frame = spectrum.make("span", "rs-layer-frame");
			frame.append(
				this.painted("rs-layer-v", right, 1, width, map),
				this.painted("rs-layer-u", left, height, 1, map),
				this.painted("rs-layer-product", product, height, width, map)
			);
			const node = spectrum.button("", () => this.choose(i + 1), "rs-layer");
			node.setAttribute("aria-label", `Direction ${i + 1}: keep the first ${i + 1}`);
			const name = "₁₂₃₄₅₆"[i];
			node.append(frame, spectrum.make("span", "", `σ${name} = ${spectrum.number(sigma)}`));
			return node;
		}

		painted(name, values, height, width, map) {
			const canvas = new spectrum.Canvas("");
			canvas.size(height, width);
			canvas.node.style.aspectRatio = "";
			canvas.node.classList.add(name);
			let reach = 0;
			for (const value of values) reach = Math.max(reach, Math.abs(value));
			canvas.draw(values, null, { low: -reach || -1, high: reach || 1 }, map);
			return canvas.node;
		}
	};

	/* ---- a part at full resolution, read from the server -------------------------------------- */

	spectrum.ExactPart = class {
		constructor(tell) {
			this.node = spectrum.make("section", "rs-exact");
			this.node.hidden = true;
			this.tell = tell;
			this.turn = 0;
		}

		close() {
			this.node.hidden = true;
			this.turn++;
		}

		moveTo(k) {
			if (!this.node.hidden && k !== this.k) this.open(this.content, this.colours, k, this.row, this.column);
		}

		async open(content, colours, k, row, column) {
			Object.assign(this, { content, colours, k, row, column });
			const turn = ++this.turn;
			try {
				const place = `k=${k}&row=${row}&column=${column}&size=${SIZE}`;
				const answer = await spectrum.asked(`${content.address}/window?${place}`);
				const found = await answer.json();
				if (turn === this.turn) this.draw(found);
			} catch (error) {
				this.tell(error.message);
			}
		}

		draw(found) {
			const original = spectrum.floats(found.original);
			const range = spectrum.rangeOf(original);
			const reach = (range.high - range.low) / 2 || 1;
			const around = { low: -reach, high: reach };
			const map = this.colours[range.map];
			const pictures = spectrum.make("div", "rs-pictures");
			pictures.append(
				this.figure("Original W", original, found, range, map, ""),
				this.figure("Rank k", spectrum.floats(found.rank_k), found, range, map, `k = ${spectrum.count(this.k)}`),
				this.figure("Difference", spectrum.floats(found.difference), found, around, this.colours.signed, `± ${spectrum.number(reach)}`)
			);
			this.node.replaceChildren(this.head(found), pictures);
			this.node.hidden = false;
		}

		figure(title, values, { height, width }, range, map, note) {
			const canvas = new spectrum.Canvas(`${title}, exact part`);
			canvas.size(height, width);
			canvas.draw(values, null, range, map);
			const caption = spectrum.make("figcaption");
			caption.append(spectrum.make("b", "", title), spectrum.make("span", "", note));
			const figure = spectrum.make("figure");
			figure.append(canvas.node, caption);
			return figure;
		}

		head({ row, column, height, width }) {
			const [rows, columns] = this.content.shape;
			const span = (first, count) => `${spectrum.count(first + 1)} to ${spectrum.count(first + count)}`;
			const words = `Exactly: rows ${span(row, height)}, columns ${span(column, width)}`;
			const inside = (value, most) => Math.min(most, Math.max(1, Math.round(value || 1))) - 1;
			const open = (at, across) => this.open(this.content, this.colours, this.k, at, across);
			const head = spectrum.make("div", "rs-panel-head");
			head.append(
				spectrum.make("h3", "", words),
				spectrum.numberField("from row", { min: 1, max: rows, value: row + 1 }, (value) =>
					open(inside(value, rows), column)
				),
				spectrum.numberField("from column", { min: 1, max: columns, value: column + 1 }, (value) =>
					open(row, inside(value, columns))
				),
				spectrum.button("Close", () => this.close(), "rs-textbutton")
			);
			return head;
		}
	};
})();
