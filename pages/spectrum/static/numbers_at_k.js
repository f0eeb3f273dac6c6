/* The numbers of a matrix at k, from its curves: tiles on the page, and a table for every k. */

import { csv, download } from "../shared/csv.js";
import { make } from "../shared/elements.js";
import { tr } from "../shared/language.js";
import { grouped, inPercent, rounded, shareOrBand } from "./numbers.js";
import { doubles } from "./server.js";

/* The curves as they are sent, one value for each k from 1 on; upper: the upper bound of a sketch's
   energy, else null. error has one value more: it begins at k = 0. */
export function readCurves(curves) {
	return {
		sigma: doubles(curves.sigma),
		energy: doubles(curves.energy),
		error: doubles(curves.error),
		upper: curves.energy_high ? doubles(curves.energy_high) : null,
		residual: curves.residual,
	};
}

/* ‖W − Wₖ‖₂: the next singular value, and for a sketch what it may have missed. */
function spectralError({ sigma, residual }, k) {
	const next = k < sigma.length ? sigma[k] : 0;
	return Math.sqrt(next * next + residual);
}

/* What k keeps and what it saves, in one sentence. */
export function leadAt(content, curves, k) {
	const [rows, columns] = content.shape;
	const values = {
		k: grouped(k),
		all: grouped(Math.min(rows, columns)),
		energy: shareOrBand(curves.energy[k - 1], curves.upper?.[k - 1]),
	};
	const times = (rows * columns) / (k * (rows + columns));
	return times > 1
		? tr("{k} of {all} directions keep {energy} of the energy in {times} times fewer numbers.", {
				...values,
				times: rounded(times),
			})
		: tr("{k} of {all} directions keep {energy} of the energy, in {times} times as many numbers.", {
				...values,
				times: rounded(1 / times),
			});
}

function tilesAt(content, curves, k) {
	const [rows, columns] = content.shape;
	const error = curves.error[k];
	const stored = k * (rows + columns);
	const full = rows * columns;
	const atMost = (value) => (curves.upper ? tr("at most {value}", { value }) : value);
	const atLeast = (value) => (curves.upper ? tr("at least {value}", { value }) : value);
	const relative = content.norm ? error / content.norm : 0;
	const spectral = rounded(spectralError(curves, k));
	return [
		[tr("energy kept"), atLeast(inPercent(curves.energy[k - 1])), "Σᵢ≤ₖ σᵢ² / ‖W‖²"],
		[tr("relative error"), atMost(inPercent(relative)), "‖W − Wₖ‖ / ‖W‖"],
		[tr("Frobenius error"), atMost(rounded(error)), "√ Σᵢ>ₖ σᵢ²"],
		[tr("spectral error"), atMost(spectral), tr("σ at k + 1 = {next}", { next: grouped(k + 1) })],
		[
			tr("numbers to store"),
			grouped(stored),
			tr("k (m + n), {share} of {all}", { share: inPercent(stored / full), all: grouped(full) }),
		],
		...content.ranks,
	];
}

export class NumbersAtK {
	constructor() {
		this.node = make("dl", "rs-tiles rs-k-tiles");
		this.cells = [];
	}

	/* The same nodes are written again: nothing is laid out anew while k moves. */
	show(content, curves, k) {
		const tiles = tilesAt(content, curves, k);
		if (this.cells.length !== tiles.length) this.build(tiles.length);
		tiles.forEach((texts, i) => {
			texts.forEach((text, j) => {
				const cell = this.cells[i][j];
				if (cell.textContent !== text) cell.textContent = text;
			});
		});
	}

	build(count) {
		this.cells = Array.from({ length: count }, () => [
			make("dt"),
			make("dd"),
			make("dd", "rs-small-note"),
		]);
		const tiles = this.cells.map((cells) => {
			const tile = make("div", "rs-tile");
			tile.append(...cells);
			return tile;
		});
		this.node.replaceChildren(...tiles);
	}
}

export function saveTable(content, curves) {
	const { sigma, energy, error, upper } = curves;
	const [rows, columns] = content.shape;
	const names = [
		...["k", "singular_value", "energy", "frobenius_error", "relative_error"],
		...["spectral_error", "parameters"],
		...(upper ? ["energy_upper_bound"] : []),
	];
	const lines = Array.from(sigma, (value, i) => {
		const k = i + 1;
		const relative = content.norm ? error[k] / content.norm : 0;
		const raw = [k, value, energy[i], error[k], relative, spectralError(curves, k)];
		raw.push(k * (rows + columns));
		if (upper) raw.push(upper[i]);
		return { raw };
	});
	const text = csv({ columns: names.map((label) => ({ label })), rows: lines });
	download(text, "spectrum.csv");
}
