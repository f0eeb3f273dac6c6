/* The view of one matrix: its numbers, pictures and plots at every k, without asking the server.
   Values are JSON from pages/spectrum/matrix_view.py; text is set as text, never as markup. */

import { make, parsed } from "../shared/elements.js";
import { tr } from "../shared/language.js";
import { rememberState } from "./address.js";
import { button, panel, whenShown } from "./controls.js";
import { Directions } from "./directions.js";
import { ExactPart } from "./exact_part.js";
import { KControl } from "./k_control.js";
import { KPlot } from "./k_plot.js";
import { grouped, inPercent, rounded, shareOrBand } from "./numbers.js";
import { leadAt, NumbersAtK, readCurves, saveTable } from "./numbers_at_k.js";
import { Pictures } from "./pictures.js";
import { energyOptions, screeOptions } from "./plot_options.js";
import { Product } from "./product.js";

const SETTLED_MS = 200;
const FRAME_MS = 16;

class MatrixView {
	/* want(mean): the same matrix with its mean ("") or "without" it. */
	constructor(box, want) {
		this.box = box;
		this.want = want;
		this.logarithmic = true;
		this.build();
		whenShown(box, () => this.settle());
		new MutationObserver(() => this.recolour()).observe(document.body, {
			attributes: true,
			attributeFilter: ["class"],
		});
	}

	/* ---- what stands where ---------------------------------------------------------------- */

	build() {
		const choose = (k) => this.move(k);
		this.head = make("div", "rs-matrix-head");
		this.control = new KControl(choose);
		this.pictures = new Pictures({
			openExact: (row, column) =>
				this.exact.open(this.content, this.pictures.colours, this.k, row, column),
			arrived: () => this.showDirections(),
		});
		this.exact = new ExactPart((words) => {
			this.pictures.note.textContent = words;
		});
		this.numbers = new NumbersAtK();
		this.scree = new KPlot(tr("Singular values"), choose);
		this.energy = new KPlot(tr("Cumulative energy"), choose);
		this.product = new Product();
		this.directions = new Directions(choose);
		this.noise = make("p", "rs-noise");
		this.downloads = make("div", "rs-downloads");
		const plots = make("div", "rs-two");
		plots.append(
			panel(tr("Singular values"), this.scree.node, this.scaleSwitch()),
			panel(tr("Energy kept by the first k"), this.energy.node, this.bandWords()),
		);
		const shapes = make("div", "rs-two");
		shapes.append(
			panel(tr("W ≈ U Σ Vᵀ, drawn to scale"), this.product.node),
			panel(tr("The first directions, each σ u vᵀ"), this.directions.node),
		);
		const rest = make("div", "rs-matrix-rest");
		rest.append(this.numbers.node, plots, this.noise, shapes, this.downloads);
		this.lead = make("p", "rs-k-lead");
		const { control, pictures, exact } = this;
		this.box.replaceChildren(
			...[this.head, control.node, this.lead, pictures.node, exact.node, rest],
		);
	}

	scaleSwitch() {
		const node = button(
			tr("linear scale"),
			() => {
				this.logarithmic = !this.logarithmic;
				node.textContent = this.logarithmic ? tr("linear scale") : tr("logarithmic scale");
				this.drawScree();
			},
			"rs-textbutton",
		);
		return node;
	}

	bandWords() {
		this.band = make("span", "rs-band-words", tr("band: between what is certain"));
		this.band.prepend(make("i"));
		this.band.hidden = true;
		return this.band;
	}

	/* ---- a matrix arrives ----------------------------------------------------------------- */

	show(content) {
		if (content.stopped) {
			this.stopped();
			return;
		}
		this.content = content;
		this.box.hidden = false;
		this.exact.close();
		this.drawHead();
		this.setBusy(!content.id);
		if (!content.id) {
			this.curves = null;
			this.pictures.preview(content);
			return;
		}
		this.curves = readCurves(content.curves);
		this.k = content.k;
		this.pictures.show(content, content.k);
		this.control.show(content.marks, this.curves.energy);
		this.drawScree();
		this.band.hidden = !this.curves.upper;
		const { energy, upper } = this.curves;
		this.energy.show(energy, energyOptions(content, energy, upper));
		this.noise.textContent = content.noise_words;
		this.drawDownloads();
		this.move(content.k);
	}

	/* Nothing to show: no matrix yet, or one that was refused. */
	clear() {
		this.content = this.curves = null;
		this.exact.close();
		this.setBusy(false);
		this.box.hidden = true;
	}

	/* The person gave up the computation; the picture of the matrix, if there is one, stays. */
	stopped() {
		this.setBusy(false);
		if (!this.content || this.content.id) return;
		this.head.querySelector(".rs-method").textContent = tr(
			"Stopped before the singular values were there.",
		);
		this.pictures.stopped();
	}

	setBusy(busy) {
		this.box.setAttribute("aria-busy", String(busy));
		this.box.classList.toggle("rs-waiting", busy);
	}

	/* ---- k moves -------------------------------------------------------------------------- */

	move(k) {
		if (!this.curves) return;
		this.k = Math.min(this.curves.sigma.length, Math.max(1, Math.round(k)));
		this.control.moveTo(this.k);
		if (this.frame) return;
		// At once where nothing was drawn in this frame: then it is ready when the next begins.
		if (performance.now() - (this.drawnAt || 0) > FRAME_MS) this.draw();
		else this.frame = requestAnimationFrame(() => this.draw());
	}

	draw() {
		this.frame = null;
		if (!this.curves) return;
		this.drawnAt = performance.now();
		this.pictures.moveTo(this.k);
		this.numbers.show(this.content, this.curves, this.k);
		this.lead.textContent = leadAt(this.content, this.curves, this.k);
		this.drawCertificate();
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
		this.directions.moveTo(this.k);
	}

	/* What may wait until k has rested: the address, words for screen readers, downloads. */
	settle() {
		const { content, curves, k } = this;
		if (!content?.id) return;
		if (this.box.offsetParent !== null) rememberState({ ...content.state, k });
		const energy = shareOrBand(curves.energy[k - 1], curves.upper?.[k - 1]);
		this.control.describe(tr("k = {k}, {energy} of the energy", { k, energy }));
		const from = rounded(curves.sigma[0]);
		this.scree.describe(
			tr("Singular values from {from} down; the first {k} are kept.", { from, k }),
		);
		this.energy.describe(tr("Cumulative energy; the first {k} keep {energy}.", { k, energy }));
		for (const { node, name } of this.links) node.href = `${content.address}/${name}?k=${k}`;
		this.pictures.settle();
		this.exact.moveTo(k);
	}

	recolour() {
		this.pictures.recolour();
		this.showDirections();
	}

	/* ---- drawing -------------------------------------------------------------------------- */

	drawHead() {
		const { content } = this;
		const title = make("h2", "", content.name);
		const size = content.shape.map(grouped).join(" × ");
		if (!content.name.endsWith(size)) title.append(make("span", "rs-shape", size));
		this.certificate = make("span", "", content.certificate);
		const method = make("p", "rs-method");
		if (content.id) {
			method.append(
				make("b", "", tr("Method")),
				make("span", "", content.method),
				this.certificate,
			);
		} else {
			method.textContent = tr("Computing the singular values …");
		}
		const notes = (content.notes || []).map((note) => make("p", "rs-note", note));
		this.head.replaceChildren(title, method, ...notes, ...this.meanOffer());
	}

	/* Where one direction holds nearly everything: the same matrix without its mean. */
	meanOffer() {
		const { words, press, mean } = this.content.mean || {};
		if (!press) return [];
		const offer = make("p", "rs-mean", `${words} `);
		offer.append(button(press, () => this.want({ ...this.content.state, mean })));
		return [offer];
	}

	/* A sketch knows the energy at k only between two bounds. */
	drawCertificate() {
		const { energy, upper } = this.curves;
		if (!upper) return;
		const [low, high] = [energy[this.k - 1], upper[this.k - 1]].map(inPercent);
		this.certificate.textContent = tr(
			"The energy at k = {k} lies between {low} and {high} (probability above 1 − 10⁻¹⁰).",
			{ k: grouped(this.k), low, high },
		);
	}

	drawScree() {
		if (!this.curves) return;
		const { sigma } = this.curves;
		this.scree.show(sigma, screeOptions(this.content, sigma, this.logarithmic));
	}

	showDirections() {
		const { picture, range, colours } = this.pictures;
		if (picture && range) this.directions.show(picture, this.curves.sigma, colours, this.k);
	}

	drawDownloads() {
		const link = (name, text) => {
			const node = make("a", "rs-button rs-small", text);
			node.setAttribute("download", "");
			return { node, name };
		};
		this.links = [
			link("factors.npz", tr("Factors U, σ, V (.npz)")),
			link("rank-k.npy", tr("Rank-k matrix (.npy)")),
		];
		const { content, curves } = this;
		const table = button(tr("Table for every k (.csv)"), () => saveTable(content, curves));
		this.downloads.replaceChildren(...this.links.map(({ node }) => node), table);
	}
}

export function matrixView(element, props, watch, trigger) {
	const want = (wanted) => {
		props.value = JSON.stringify({ ...parsed(props.value), wanted });
		trigger("input");
	};
	const view = new MatrixView(element.querySelector(".rs-spectrum"), want);
	const draw = () => {
		const content = parsed(props.value);
		if (content) view.show(content);
		else if (view.content) view.clear();
	};
	draw();
	watch("value", draw);
}
