/* The view of one matrix: its numbers, pictures and plots at every k, without asking the server.
   Values are JSON from pages/spectrum/matrix_view.py; text is set as text, never as markup. */
(() => {
	"use strict";
	const spectrum = (window.rankscopeSpectrum = window.rankscopeSpectrum || {});
	const VIEWS = [
		["original", "Original W"],
		["near", "Rank k"],
		["difference", "Difference"],
	];
	const SETTLED_MS = 200;
	const FRAME_MS = 16;
	const make = (...given) => spectrum.make(...given);
	const button = (...given) => spectrum.button(...given);

	class View {
		constructor(box) {
			this.box = box;
			this.log = true;
			this.amplified = false;
			this.rms = false;
			this.build();
			spectrum.whenShown(box, () => this.settle());
			new MutationObserver(() => this.recolour()).observe(document.body, {
				attributes: true,
				attributeFilter: ["class"],
			});
		}

		/* ---- what stands where ---------------------------------------------------------- */

		build() {
			this.head = make("div", "rs-matrix-head");
			this.pictures = this.buildPictures();
			this.control = this.buildControl();
			this.tiles = make("dl", "rs-tiles rs-k-tiles");
			const choose = (k) => this.move(k);
			this.exact = new spectrum.ExactPart((words) => (this.pictureNote.textContent = words));
			this.scree = new spectrum.KPlot("Singular values", choose);
			this.energy = new spectrum.KPlot("Cumulative energy", choose);
			const plots = make("div", "rs-two");
			plots.append(this.panel("Singular values", this.scree.node, this.logSwitch()), this.panel("Energy kept by the first k", this.energy.node, this.bandWords()));
			this.noise = make("p", "rs-noise");
			this.product = new spectrum.Product();
			this.layers = new spectrum.Layers(choose);
			const shapes = make("div", "rs-two");
			shapes.append(this.panel("W ≈ U Σ Vᵀ, drawn to scale", this.product.node), this.panel("The first directions, each σ u vᵀ", this.layers.node));
			this.downloads = make("div", "rs-downloads");
			this.rest = make("div", "rs-matrix-rest");
			this.rest.append(this.tiles, plots, this.noise, shapes, this.downloads);
			this.box.replaceChildren(this.head, this.control, this.pictures, this.exact.node, this.rest);
		}

		panel(title, node, more) {
			const panel = make("section", "rs-panel");
			const head = make("div", "rs-panel-head");
			head.append(make("h3", "", title));
			if (more) head.append(more);
			panel.append(head, node);
			return panel;
		}

		logSwitch() {
			const node = button("linear scale", () => {
				this.log = !this.log;
				node.textContent = this.log ? "linear scale" : "logarithmic scale";
				this.drawScree();
			}, "rs-textbutton");
			return node;
		}

		bandWords() {
			this.band = make("span", "rs-band-words", "band: between what is certain");
			this.band.prepend(make("i"));
			this.band.hidden = true;
			return this.band;
		}

		buildPictures() {
			this.canvases = {};
			this.captions = {};
			const row = make("div", "rs-pictures");
			VIEWS.forEach(([name, title]) => {
				const figure = make("figure");
				const canvas = new spectrum.Canvas(title);
				canvas.node.addEventListener("click", (event) => this.exactAt(canvas.node, event));
				canvas.node.addEventListener("keydown", (event) => {
					if (event.key === "Enter") this.openExact(0, 0);
				});
				const caption = make("figcaption");
				this.captions[name] = make("span");
				caption.append(make("b", "", title), this.captions[name]);
				figure.append(canvas.node, caption);
				this.canvases[name] = canvas;
				row.append(figure);
			});
			this.pictureNote = make("p", "rs-picture-note");
			this.switches = make("div", "rs-switches");
			this.switches.append(
				this.check("Root mean square of each tile", (on) => {
					this.rms = on;
					this.drawPictures();
					this.settle();
				}),
				this.check("Amplify the difference", (on) => {
					this.amplified = on;
					this.drawPictures();
				})
			);
			const box = make("div", "rs-picture-box");
			box.append(row, this.switches, this.pictureNote);
			return box;
		}

		check(text, change) {
			const label = make("label", "rs-check");
			const input = make("input");
			input.type = "checkbox";
			input.addEventListener("change", () => change(input.checked));
			label.append(input, document.createTextNode(text));
			return label;
		}

		buildControl() {
			const box = make("div", "rs-k");
			const label = make("label", "rs-k-label");
			label.append(make("span", "", "Directions kept, k"));
			this.typed = make("input", "rs-k-number");
			this.typed.type = "number";
			this.typed.min = 1;
			this.typed.addEventListener("change", () => this.move(Number(this.typed.value) || 1));
			label.append(this.typed);
			this.slider = make("input", "rs-k-slider");
			this.slider.type = "range";
			this.slider.min = 1;
			this.slider.setAttribute("aria-label", "k, directions kept");
			this.slider.addEventListener("input", () => this.move(Number(this.slider.value)));
			this.shortcuts = make("div", "rs-shortcuts");
			box.append(label, this.slider, this.shortcuts);
			return box;
		}

		/* ---- a matrix arrives ------------------------------------------------------------ */

		show(content) {
			if (content.stopped) {
				this.stopped();
				return;
			}
			this.content = content;
			this.turn = (this.turn || 0) + 1;
			this.exact.close();
			this.tileView = null;
			this.drawHead();
			this.pictureNote.textContent = "";
			if (!content.id) {
				this.firstLook();
				return;
			}
			this.box.setAttribute("aria-busy", "false");
			this.box.classList.remove("rs-waiting");
			this.curves = this.readCurves(content.curves);
			const { height, width, ranks } = content.pooled;
			this.picture = new spectrum.Picture(height, width, ranks);
			VIEWS.forEach(([name]) => this.canvases[name].size(height, width, this.content.shape));
			this.k = content.k;
			const most = this.curves.sigma.length;
			this.slider.max = this.typed.max = most;
			this.drawShortcuts();
			this.drawScree();
			this.band.hidden = !this.curves.upper;
			this.energy.show(this.curves.energy, spectrum.energyOptions(content, this.curves.energy, this.curves.upper));
			this.noise.textContent = content.noise_words;
			this.drawDownloads();
			this.move(content.k);
			this.load(this.turn);
		}

		/* The matrix alone, while its singular values are being computed. */
		firstLook() {
			this.box.setAttribute("aria-busy", "true");
			this.box.classList.add("rs-waiting");
			const { height, width, data } = this.content.picture;
			const values = spectrum.floats(data);
			const range = spectrum.rangeOf(values);
			const colours = spectrum.colours();
			VIEWS.forEach(([name]) => this.canvases[name].size(height, width, this.content.shape));
			this.canvases.original.draw(values, null, range, colours[range.map]);
			["near", "difference"].forEach((name) => {
				this.canvases[name].draw(new Float32Array(height * width), null, { low: -1, high: 1 }, colours.signed);
				this.captions[name].textContent = "being computed";
			});
			this.captions.original.textContent = "";
			performance.mark("rankscope-first-picture");
		}

		/* What was asked for was given up; the picture of it, if there is one, stays. */
		stopped() {
			this.box.setAttribute("aria-busy", "false");
			this.box.classList.remove("rs-waiting");
			if (!this.content || this.content.id) return;
			this.head.querySelector(".rs-method").textContent = "Stopped before the singular values were there.";
			["near", "difference"].forEach((name) => (this.captions[name].textContent = "stopped"));
		}

		readCurves(curves) {
			return {
				sigma: spectrum.doubles(curves.sigma),
				energy: spectrum.doubles(curves.energy),
				error: spectrum.doubles(curves.error),
				upper: curves.energy_high ? spectrum.doubles(curves.energy_high) : null,
				residual: curves.residual,
			};
		}

		/* The pooled factors come in parts; the first is enough to draw. */
		async load(turn) {
			const { picture, content } = this;
			try {
				while (picture.have < picture.ranks || picture.have === 0) {
					const first = picture.have;
					const answer = await spectrum.asked(`${content.address}/factors?first=${first}`);
					const buffer = await answer.arrayBuffer();
					if (turn !== this.turn) return;
					picture.take(buffer, first);
					if (first === 0) {
						this.range = spectrum.rangeOf(picture.original);
						this.colours = spectrum.colours();
						this.layers.show(this.picture, this.curves.sigma, this.colours, this.k);
					}
					if (first === 0 || this.k > first) this.drawPictures();
					if (first === 0) performance.mark("rankscope-rank-k");
					if (picture.ranks === 0) break;
				}
				this.prepare(turn);
			} catch (error) {
				this.pictureNote.textContent = error.message;
			}
		}

		/* Stored pictures for quick jumps, made while nothing else is to be done. */
		prepare(turn) {
			const idle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
			const step = () => {
				if (turn === this.turn && this.picture.prepare()) idle(step);
			};
			idle(step);
		}

		/* ---- k moves --------------------------------------------------------------------- */

		move(k) {
			if (!this.curves) return;
			this.k = Math.min(this.curves.sigma.length, Math.max(1, Math.round(k)));
			this.slider.value = this.k;
			this.typed.value = this.k;
			if (this.frame) return;
			// At once where nothing was drawn in this frame: then it is ready when the next begins.
			if (performance.now() - (this.drawnAt || 0) > FRAME_MS) this.draw();
			else this.frame = requestAnimationFrame(() => this.draw());
		}

		draw() {
			this.frame = null;
			this.drawnAt = performance.now();
			this.drawPictures();
			this.drawTiles();
			// The curves follow when this frame is painted: the pictures need not wait for them.
			this.following ||= requestAnimationFrame(() => setTimeout(() => this.drawCurves()));
			clearTimeout(this.settling);
			this.settling = setTimeout(() => this.settle(), SETTLED_MS);
		}

		drawCurves() {
			this.following = null;
			if (!this.curves) return;
			this.scree.moveTo(this.k);
			this.energy.moveTo(this.k);
			this.product.show(this.content.shape, this.k);
			this.layers.moveTo(this.k);
		}

		/* What may wait until k has stopped: the address, words for screen readers, downloads. */
		settle() {
			if (!this.content?.id) return;
			if (this.box.offsetParent !== null) spectrum.remember({ ...this.content.state, k: this.k });
			const energy = spectrum.between(this.curves.energy[this.k - 1], this.curves.upper?.[this.k - 1]);
			this.slider.setAttribute("aria-valuetext", `k = ${this.k}, ${energy} of the energy`);
			this.scree.node.setAttribute("aria-label", `Singular values from ${spectrum.number(this.curves.sigma[0])} down; the first ${this.k} are kept.`);
			this.energy.node.setAttribute("aria-label", `Cumulative energy; the first ${this.k} keep ${energy}.`);
			this.links?.forEach(({ node, name }) => (node.href = `${this.content.address}/${name}?k=${this.k}`));
			if (this.rms) this.loadTiles();
			this.exact.moveTo(this.k);
		}

		recolour() {
			if (!this.content) return;
			this.colours = spectrum.colours();
			if (!this.content.id) this.firstLook();
			else if (this.range) {
				this.drawPictures();
				this.layers.show(this.picture, this.curves.sigma, this.colours, this.k);
			}
		}

		/* ---- drawing --------------------------------------------------------------------- */

		drawHead() {
			const { content } = this;
			const shape = content.shape.map(spectrum.count).join(" × ");
			const title = make("h2", "", content.name);
			title.append(make("span", "rs-shape", shape));
			this.head.replaceChildren(title);
			if (content.id) {
				const method = make("p", "rs-method");
				this.certificate = make("span", "", content.certificate);
				method.append(make("b", "", "Method"), make("span", "", content.method), this.certificate);
				this.head.append(method);
			} else {
				this.head.append(make("p", "rs-method", "Computing the singular values …"));
			}
			(content.notes || []).forEach((note) => this.head.append(make("p", "rs-note", note)));
		}

		drawShortcuts() {
			const known = this.content.marks.filter(({ k }) => k !== null && k > 0);
			const nodes = known.map(({ share, k }) =>
				button(`${100 * share} % at k = ${spectrum.count(k)}`, () => this.move(k), "rs-chip")
			);
			const wish = spectrum.numberField("k for", { min: 1, max: 100, step: "any", value: 98 }, (percent) => {
				const share = (percent / 100) * (1 - 1e-12);
				const k = this.curves.energy.findIndex((energy) => energy >= share) + 1;
				this.move(k || this.curves.sigma.length);
			}, "% energy");
			this.shortcuts.replaceChildren(...nodes, wish);
		}

		drawScree() {
			if (!this.curves) return;
			this.scree.show(this.curves.sigma, spectrum.screeOptions(this.content, this.curves.sigma, this.log));
		}

		drawPictures() {
			const { picture, range, colours, canvases } = this;
			if (!picture || !range || !picture.have) return;
			if (this.rms && this.tileView) {
				this.drawTileView();
				return;
			}
			const { height, width } = picture;
			VIEWS.forEach(([name]) => canvases[name].size(height, width, this.content.shape));
			const at = picture.moveTo(this.k);
			if (this.drawn !== picture || this.drawnColours !== colours || this.tilesDrawn) {
				canvases.original.draw(picture.original, null, range, colours[range.map]);
				this.drawn = picture;
				this.drawnColours = colours;
				this.tilesDrawn = false;
			}
			canvases.near.draw(picture.near, null, range, colours[range.map]);
			const reach = this.reach();
			canvases.difference.draw(picture.original, picture.near, { low: -reach, high: reach }, colours.signed);
			this.captions.original.textContent = this.scaleWords(range);
			this.captions.near.textContent = `k = ${spectrum.count(at)}`;
			this.captions.difference.textContent = `± ${spectrum.number(reach)}`;
			this.drawPictureNote(at);
		}

		/* The difference's scale: half the original's range, or its own largest value. */
		reach() {
			const { picture, range } = this;
			if (!this.amplified) return (range.high - range.low) / 2 || 1;
			let most = 0;
			for (let i = 0; i < picture.near.length; i++) {
				const size = Math.abs(picture.original[i] - picture.near[i]);
				if (size > most) most = size;
			}
			return most || 1;
		}

		scaleWords(range) {
			if (range.map === "grey") return `${spectrum.number(range.low)} to ${spectrum.number(range.high)}`;
			return `± ${spectrum.number(range.high)}`;
		}

		drawPictureNote(at) {
			const [rows, columns] = this.content.shape;
			const { height, width, ranks } = this.picture;
			const words = [];
			if (rows > height || columns > width) {
				words.push(
					`Each of the ${spectrum.count(height)} × ${spectrum.count(width)} points is the mean of a tile, ` +
						"in which opposite signs cancel. Click for an exact part, or switch to root mean squares."
				);
			}
			if (at < this.k && at === ranks && ranks > 0) {
				words.push(`The pictures follow k up to ${spectrum.count(ranks)}; all numbers follow it to the end.`);
			}
			this.pictureNote.textContent = words.join(" ");
		}

		drawTiles() {
			const { content, curves, k } = this;
			const [rows, columns] = content.shape;
			const error = curves.error[k];
			const next = k < curves.sigma.length ? curves.sigma[k] : 0;
			const spectral = Math.sqrt(next * next + curves.residual);
			const kept = k * (rows + columns);
			const full = rows * columns;
			const about = curves.upper ? "at most " : "";
			const least = curves.upper ? "at least " : "";
			this.setTiles([
				["energy kept", least + spectrum.share(curves.energy[k - 1]), "Σᵢ≤ₖ σᵢ² / ‖W‖²"],
				["relative error", about + spectrum.share(content.norm ? error / content.norm : 0), "‖W − Wₖ‖ / ‖W‖"],
				["Frobenius error", about + spectrum.number(error), "√ Σᵢ>ₖ σᵢ²"],
				["spectral error", about + spectrum.number(spectral), `σ at k + 1 = ${spectrum.count(k + 1)}`],
				["numbers to store", spectrum.count(kept), `k (m + n), ${spectrum.share(kept / full)} of ${spectrum.count(full)}`],
				...content.ranks,
			]);
			if (curves.upper) {
				this.certificate.textContent =
					`The energy at k = ${spectrum.count(k)} lies between ${spectrum.share(curves.energy[k - 1])} and ` +
					`${spectrum.share(curves.upper[k - 1])} (probability above 1 − 10⁻¹⁰).`;
			}
		}

		/* The same nodes are written again: nothing is laid out anew while k moves. */
		setTiles(tiles) {
			if (this.tileNodes?.length !== tiles.length) {
				this.tileNodes = tiles.map(() => [make("dt"), make("dd"), make("dd", "rs-small-note")]);
				this.tiles.replaceChildren(
					...this.tileNodes.map((nodes) => {
						const tile = make("div", "rs-tile");
						tile.append(...nodes);
						return tile;
					})
				);
			}
			tiles.forEach((texts, i) =>
				texts.forEach((text, j) => {
					const node = this.tileNodes[i][j];
					if (node.textContent !== text) node.textContent = text;
				})
			);
		}

		drawDownloads() {
			const link = (name, text) => {
				const node = make("a", "rs-button rs-small", text);
				node.setAttribute("download", "");
				return { node, name };
			};
			this.links = [link("factors.npz", "Factors U, σ, V (.npz)"), link("rank-k.npy", "Rank-k matrix (.npy)")];
			this.downloads.replaceChildren(
				...this.links.map(({ node }) => node),
				button("Table for every k (.csv)", () => this.saveTable())
			);
		}

		saveTable() {
			const { sigma, energy, error, upper, residual } = this.curves;
			const [rows, columns] = this.content.shape;
			const names = ["k", "singular_value", "energy", "frobenius_error", "relative_error", "spectral_error", "parameters"];
			if (upper) names.push("energy_upper_bound");
			const table = {
				columns: names.map((label) => ({ label })),
				rows: Array.from(sigma, (value, i) => {
					const next = i + 1 < sigma.length ? sigma[i + 1] : 0;
					const raw = [i + 1, value, energy[i], error[i + 1], this.content.norm ? error[i + 1] / this.content.norm : 0];
					raw.push(Math.sqrt(next * next + residual), (i + 1) * (rows + columns));
					if (upper) raw.push(upper[i]);
					return { raw };
				}),
			};
			const anchor = make("a");
			anchor.href = URL.createObjectURL(new Blob([window.rankscope.csv(table)], { type: "text/csv" }));
			anchor.download = "spectrum.csv";
			anchor.click();
			setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
		}


		/* ---- what needs the server: root mean squares, and a part exactly ------------------ */

		async loadTiles() {
			const { turn, k } = this;
			this.pictureNote.textContent = "Computing the root mean squares …";
			try {
				const answer = await spectrum.asked(`${this.content.address}/tiles?k=${k}`);
				const found = await answer.json();
				if (turn !== this.turn || !this.rms) return;
				this.tileView = found;
				this.drawPictures();
			} catch (error) {
				this.pictureNote.textContent = error.message;
			}
		}

		drawTileView() {
			const { height, width, original, rank_k: near, difference } = this.tileView;
			const views = { original, near, difference };
			const range = { ...spectrum.rangeOf(spectrum.floats(original)), low: 0 };
			VIEWS.forEach(([name]) => {
				this.canvases[name].size(height, width, this.content.shape);
				this.canvases[name].draw(spectrum.floats(views[name]), null, range, this.colours.grey);
				this.captions[name].textContent = `root mean square, 0 to ${spectrum.number(range.high)}`;
			});
			this.tilesDrawn = true;
			this.pictureNote.textContent = "Each point is the root mean square of a tile, which cancelling signs cannot hide.";
		}

		/* The part of 64 x 64 numbers around a press. */
		exactAt(canvas, event) {
			const frame = canvas.getBoundingClientRect();
			const [rows, columns] = this.content.shape;
			const place = (share, length) => Math.max(0, Math.min(length - 1, Math.floor(share * length) - 32));
			this.openExact(
				place((event.clientY - frame.top) / frame.height, rows),
				place((event.clientX - frame.left) / frame.width, columns)
			);
		}

		openExact(row, column) {
			if (this.content?.id) this.exact.open(this.content, this.colours, this.k, row, column);
		}
	}

	spectrum.view = (element, props, watch) => {
		const view = new View(element.querySelector(".rs-spectrum"));
		const draw = () => props.value && view.show(JSON.parse(props.value));
		draw();
		watch("value", draw);
	};
})();
