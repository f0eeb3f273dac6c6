/* W, U, Σ and Vᵀ drawn to one scale; the part that k keeps is filled. */

import { make, sizeBar } from "../shared/elements.js";
import { grouped } from "./numbers.js";

export class Product {
	constructor() {
		this.node = make("div", "rs-product-box");
		this.blocks = make("div", "rs-product");
		this.whole = sizeBar("m · n", false);
		this.factors = sizeBar("k (m + n)", true);
		const bars = make("div", "rs-bars");
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
		const words = grouped(kept);
		U.size.textContent = `${grouped(rows)} × ${words}`;
		S.size.textContent = `${words} × ${words}`;
		V.size.textContent = `${words} × ${grouped(columns)}`;
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
		this.whole.show(full, most, grouped(full));
		this.factors.show(low, most, grouped(low));
	}

	build(rows, columns, inner) {
		Object.assign(this, { rows, columns });
		const side = Math.max(rows, columns);
		const W = this.block("W", "w", rows / side, columns / side);
		const U = this.block("U", "u", rows / side, inner / side);
		const S = this.block("Σ", "s", inner / side, inner / side);
		const V = this.block("Vᵀ", "v", inner / side, columns / side);
		W.fill.style.cssText = "width:100%;height:100%";
		W.size.textContent = `${grouped(rows)} × ${grouped(columns)}`;
		this.parts = { U, S, V };
		const sign = make("span", "rs-sign", "≈");
		this.blocks.replaceChildren(W.figure, sign, U.figure, S.figure, V.figure);
		this.inSides = (2 * columns + 2 * inner) / side;
		this.scale();
	}

	block(name, kind, high, wide) {
		const figure = make("figure");
		const area = make("div", "rs-area");
		area.style.height = `max(3px, calc(var(--side) * ${high}))`;
		area.style.width = `max(3px, calc(var(--side) * ${wide}))`;
		const fill = make("div", `rs-fill rs-fill-${kind}`);
		const size = make("span");
		const caption = make("figcaption");
		caption.append(make("b", "", name), size);
		area.append(fill);
		figure.append(area, caption);
		return { figure, fill, size };
	}
}
