/* The matrix, its rank-k approximation and the difference, pooled to the screen.
   near = sum over i <= k of left_i right_i^T: moving k adds or subtracts a few such terms. */
window.rankscopeSpectrum = window.rankscopeSpectrum || {};
(() => {
	"use strict";
	const spectrum = window.rankscopeSpectrum;
	const KEYFRAME = 64; // ranks between two stored pictures
	const MOST_KEYFRAMES = 16;

	spectrum.make = (tag, className, text) => {
		const node = document.createElement(tag);
		if (className) node.className = className;
		if (text !== undefined) node.textContent = text;
		return node;
	};

	spectrum.button = (text, press, className = "rs-button rs-small") => {
		const node = spectrum.make("button", className, text);
		node.type = "button";
		node.addEventListener("click", press);
		return node;
	};

	/* A number to type, with words on both sides. */
	spectrum.numberField = (before, options, change, after) => {
		const label = spectrum.make("label", "rs-wish", before);
		const input = spectrum.make("input");
		Object.assign(input, { type: "number", ...options });
		input.addEventListener("change", () => change(Number(input.value)));
		label.append(input, document.createTextNode(after || ""));
		return label;
	};

	/* What the address says of this page, replaced as a whole. */
	spectrum.remember = (state) => {
		const url = new URL(window.location.href);
		url.search = new URLSearchParams(state).toString();
		history.replaceState(history.state, "", url);
	};

	/* Call again whenever the node comes back into sight, as when its tab is chosen. */
	spectrum.whenShown = (node, call) => {
		let seen = true;
		new ResizeObserver(() => {
			const now = node.offsetParent !== null;
			if (now && !seen) call();
			seen = now;
		}).observe(node);
	};

	/* An answer of the routes by matrix id; an error carries problem and remedy. */
	spectrum.asked = async (address) => {
		const answer = await fetch(address);
		if (answer.ok) return answer;
		const silent = { problem: "The server did not answer.", remedy: "Reload the page." };
		const error = await answer.json().catch(() => silent);
		throw new Error(`${error.problem} ${error.remedy}`);
	};

	spectrum.bytes = (base64) => Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0)).buffer;
	spectrum.floats = (base64) => new Float32Array(spectrum.bytes(base64));
	spectrum.doubles = (base64) => new Float64Array(spectrum.bytes(base64));

	/* ---- the pooled picture at any k ---------------------------------------------------- */

	spectrum.Picture = class {
		constructor(height, width, ranks) {
			this.height = height;
			this.width = width;
			this.ranks = ranks;
			this.have = 0; // ranks that have arrived
			this.original = new Float32Array(height * width);
			this.near = new Float32Array(height * width);
			this.k = 0; // of `near`
			this.left = new Float32Array(ranks * height);
			this.right = new Float32Array(ranks * width);
			this.keyframes = new Map();
		}

		/* Take the part that begins at rank `first`, as spectrum_routes.py sends it. */
		take(buffer, first) {
			const values = new Float32Array(buffer);
			let place = 0;
			if (first === 0) {
				this.original.set(values.subarray(0, this.original.length));
				place = this.original.length;
			}
			const count = (values.length - place) / (this.height + this.width);
			this.left.set(values.subarray(place, place + count * this.height), first * this.height);
			place += count * this.height;
			this.right.set(values.subarray(place), first * this.width);
			this.have = first + count;
		}

		/* Bring `near` to rank k, or to the last rank at hand. Returns the rank it is at. */
		moveTo(k) {
			const wanted = Math.min(k, this.have);
			this.start(wanted);
			while (this.k < wanted) this.add(this.k, Math.min(4, wanted - this.k), 1);
			while (this.k > wanted) {
				const count = Math.min(4, this.k - wanted);
				this.add(this.k - count, count, -1);
			}
			return this.k;
		}

		/* Begin from zero or a stored picture where that is nearer than where we are. */
		start(wanted) {
			let best = Math.abs(this.k - wanted);
			let from = null;
			if (wanted < best) {
				best = wanted;
				from = 0;
			}
			this.keyframes.forEach((_, k) => {
				if (Math.abs(k - wanted) < best) {
					best = Math.abs(k - wanted);
					from = k;
				}
			});
			if (from === null) return;
			if (from === 0) this.near.fill(0);
			else this.near.set(this.keyframes.get(from));
			this.k = from;
		}

		/* Add (sign 1) or subtract (-1) up to four rank-one terms in one pass. */
		add(first, count, sign) {
			const { near, left, right, height, width } = this;
			const r0 = first * width;
			const r1 = count > 1 ? r0 + width : r0;
			const r2 = count > 2 ? r1 + width : r0;
			const r3 = count > 3 ? r2 + width : r0;
			for (let i = 0; i < height; i++) {
				const at = first * height + i;
				const a = sign * left[at];
				const b = count > 1 ? sign * left[at + height] : 0;
				const c = count > 2 ? sign * left[at + 2 * height] : 0;
				const d = count > 3 ? sign * left[at + 3 * height] : 0;
				const row = i * width;
				for (let j = 0; j < width; j++) {
					near[row + j] +=
						a * right[r0 + j] + b * right[r1 + j] + c * right[r2 + j] + d * right[r3 + j];
				}
			}
			this.k += sign * count;
		}

		/* Store one more picture on the way, so that a jump stays short. False when all are. */
		prepare() {
			const next = KEYFRAME * (this.keyframes.size + 1);
			if (next > this.have || this.keyframes.size >= MOST_KEYFRAMES) return false;
			const at = this.k;
			this.moveTo(next);
			this.keyframes.set(next, this.near.slice());
			this.moveTo(at);
			return true;
		}
	};

	/* ---- colours ------------------------------------------------------------------------ */

	const BLUE = [37, 99, 235];
	const ORANGE = [217, 103, 6];
	const mix = (from, to, share) => from.map((value, i) => value + (to[i] - value) * share);
	const pixel = ([r, g, b]) => (255 << 24) | (b << 16) | (g << 8) | r;

	/* 256 colours: blue for negative, orange for positive, the page's own ground for zero. */
	function diverging(ground, far) {
		const map = new Uint32Array(256);
		for (let i = 0; i < 256; i++) {
			const t = (i - 127.5) / 127.5;
			const side = t < 0 ? BLUE : ORANGE;
			const share = Math.abs(t);
			const colour =
				share < 0.7 ? mix(ground, side, share / 0.7) : mix(side, far, ((share - 0.7) / 0.3) * 0.45);
			map[i] = pixel(colour.map(Math.round)) >>> 0;
		}
		return map;
	}

	function grey() {
		const map = new Uint32Array(256);
		for (let i = 0; i < 256; i++) map[i] = pixel([i, i, i]) >>> 0;
		return map;
	}

	spectrum.colours = () => {
		const dark = document.body.classList.contains("dark");
		return {
			signed: dark ? diverging([20, 29, 46], [255, 255, 255]) : diverging([255, 255, 255], [10, 16, 40]),
			grey: grey(),
		};
	};

	/* The range a picture is drawn in. Grey from least to most for what looks like a picture: no
	   negative number, and most of them well above zero. Else from -a to a, where a leaves out
	   the most extreme 1 in 100. */
	spectrum.rangeOf = (values) => {
		let least = Infinity;
		let most = -Infinity;
		for (const value of values) {
			if (value < least) least = value;
			if (value > most) most = value;
		}
		const step = Math.max(1, Math.floor(values.length / 20000));
		const sizes = [];
		for (let i = 0; i < values.length; i += step) sizes.push(Math.abs(values[i]));
		sizes.sort((a, b) => a - b);
		const quantile = (share) => sizes[Math.floor((sizes.length - 1) * share)];
		if (least >= 0 && quantile(0.5) > 0.1 * most) {
			return { low: least === most ? 0 : least, high: most, map: "grey" };
		}
		const small = values.length < 1000; // too few to leave any out
		const reach = (small ? 0 : quantile(0.99)) || Math.max(-least, most) || 1;
		return { low: -reach, high: reach, map: "signed" };
	};

	/* ---- canvases ----------------------------------------------------------------------- */

	const READABLE = 12; // rows or columns up to which the numbers are written into the cells

	/* A canvas of height x width numbers: draw paints `values`, or values - minus. One without a
	   label is an ornament beside something that has one. */
	spectrum.Canvas = class {
		constructor(label) {
			this.node = spectrum.make("canvas", "rs-canvas");
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
			context.font = `${Math.min(cell * 0.28, 34)}px system-ui, sans-serif`;
			for (let i = 0; i < this.height; i++) {
				for (let j = 0; j < this.width; j++) {
					const at = i * this.width + j;
					const colour = pixels[at];
					const [r, g, b] = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
					context.fillStyle = `rgb(${r} ${g} ${b})`;
					context.fillRect(j * cell, i * cell, cell, cell);
					context.fillStyle = r * 0.3 + g * 0.59 + b * 0.11 > 130 ? "#101828" : "#ffffff";
					const value = minus ? values[at] - minus[at] : values[at];
					context.fillText(brief(value), (j + 0.5) * cell, (i + 0.5) * cell);
				}
			}
		}
	};

	const brief = (value) => {
		if (Math.abs(value) < 5e-4) return "0";
		const text = Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3);
		return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
	};
})();
