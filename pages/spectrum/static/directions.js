/* The first directions of a matrix: σ u vᵀ, with u at its left and v above it. */

import { make } from "../shared/elements.js";
import { tr } from "../shared/language.js";
import { Canvas } from "./canvas.js";
import { button } from "./controls.js";
import { rounded } from "./numbers.js";

const THUMBNAILS = 6;
const THUMBNAIL_SIDE = 96;

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

export class Directions {
	constructor(choose) {
		this.node = make("div", "rs-directions");
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
		this.nodes.forEach((node, i) => {
			node.classList.toggle("rs-dropped", i >= k);
		});
	}

	layer(picture, i, sigma, map) {
		const left = coarser(picture.left.subarray(i * picture.height, (i + 1) * picture.height));
		const right = coarser(picture.right.subarray(i * picture.width, (i + 1) * picture.width));
		const [height, width] = [left.length, right.length];
		const product = new Float32Array(height * width);
		left.forEach((value, row) => {
			for (let j = 0; j < width; j++) product[row * width + j] = value * right[j];
		});
		const frame = make("span", "rs-layer-frame");
		frame.append(
			this.painted("rs-layer-v", right, 1, width, map),
			this.painted("rs-layer-u", left, height, 1, map),
			this.painted("rs-layer-product", product, height, width, map),
		);
		const node = button("", () => this.choose(i + 1), "rs-layer");
		const size = `σ${"₁₂₃₄₅₆"[i]} = ${rounded(sigma)}`;
		const does = tr("Direction {i}: keep the first {i}", { i: i + 1 });
		node.setAttribute("aria-label", `${does}, ${size}`);
		node.append(frame, make("span", "", size));
		return node;
	}

	painted(name, values, height, width, map) {
		const canvas = new Canvas("");
		canvas.size(height, width);
		canvas.node.style.aspectRatio = "";
		canvas.node.classList.add(name);
		let reach = 0;
		for (const value of values) reach = Math.max(reach, Math.abs(value));
		canvas.draw(values, null, { low: -reach || -1, high: reach || 1 }, map);
		return canvas.node;
	}
}
