/* A canvas of numbers: coloured points, or for a small matrix cells with the numbers in them. */

import { make } from "../shared/elements.js";

const READABLE = 12; // rows or columns up to which the numbers are written into the cells

/* A canvas of height x width numbers: draw paints `values`, or values - minus. One without a
   label is an ornament beside something that has one. */
export class Canvas {
	constructor(label) {
		this.node = make("canvas", "rs-canvas");
		this.readable = label !== "";
		if (label) {
			this.node.tabIndex = 0;
			this.node.setAttribute("role", "img");
			this.node.setAttribute("aria-label", label);
		}
	}

	/* shape: the whole matrix's, for the proportions on the screen. */
	size(height, width, shape = [height, width]) {
		const proportion = Math.min(2.4, Math.max(0.5, shape[1] / shape[0]));
		this.node.style.aspectRatio = String(proportion);
		if (this.height === height && this.width === width) return;
		this.height = height;
		this.width = width;
		this.image = new ImageData(width, height);
		this.pixels = new Uint32Array(this.image.data.buffer);
		this.numbers = this.readable && height <= READABLE && width <= READABLE;
		this.node.classList.toggle("rs-crisp", Math.max(height, width) < 200);
		if (!this.numbers) {
			this.node.width = width;
			this.node.height = height;
		}
		this.context = this.node.getContext("2d", { alpha: false });
	}

	draw(values, minus, range, map) {
		const { pixels } = this;
		const scale = 256 / (range.high - range.low || 1);
		const { low } = range;
		const count = pixels.length;
		if (minus) {
			for (let i = 0; i < count; i++) {
				const t = (values[i] - minus[i] - low) * scale;
				pixels[i] = map[t < 0 ? 0 : t > 255 ? 255 : t | 0];
			}
		} else {
			for (let i = 0; i < count; i++) {
				const t = (values[i] - low) * scale;
				pixels[i] = map[t < 0 ? 0 : t > 255 ? 255 : t | 0];
			}
		}
		if (this.numbers) this.write(values, minus);
		else this.context.putImageData(this.image, 0, 0);
	}

	/* A small matrix: coloured cells with their numbers. */
	write(values, minus) {
		const wide = Math.round((this.node.clientWidth || 300) * Math.min(devicePixelRatio, 2));
		const cell = Math.max(8, Math.floor(wide / this.width));
		const { context, node, pixels } = this;
		node.width = cell * this.width;
		node.height = cell * this.height;
		context.textAlign = "center";
		context.textBaseline = "middle";
		const texts = Array.from(values, (value, i) => brief(minus ? value - minus[i] : value));
		const longest = Math.max(...texts.map((text) => text.length));
		const size = Math.min(cell * 0.28, (0.9 * cell) / (0.62 * longest), 34);
		context.font = `${size}px system-ui, sans-serif`;
		for (let i = 0; i < this.height; i++) {
			for (let j = 0; j < this.width; j++) {
				const at = i * this.width + j;
				const colour = pixels[at];
				const [r, g, b] = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
				context.fillStyle = `rgb(${r} ${g} ${b})`;
				context.fillRect(j * cell, i * cell, cell, cell);
				context.fillStyle = r * 0.3 + g * 0.59 + b * 0.11 > 130 ? "#101828" : "#ffffff";
				context.fillText(texts[at], (j + 0.5) * cell, (i + 0.5) * cell);
			}
		}
	}
}

const brief = (value) => {
	if (Math.abs(value) < 5e-4) return "0";
	const text = Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3);
	return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
};
