/* One matrix and its factors at every rank, and a row of numbers at every rank.
   The frames of the first ranks arrive together, so that moving the rank asks the server nothing:
   `showRank` picks one. A frame has what the rank alone decides; all numbers are the server's. */

import { make, parsed, sizeBar, tile } from "./elements.js";
import { tr } from "./language.js";
import { endRange } from "./range.js";

/* By element id: what draws a rank. */
const rankPictures = new Map();

export function showRank(id, rank, d, k) {
	rankPictures.get(id)?.(rank, d, k);
	return [];
}

const grouped = (number) => number.toLocaleString("en");

/* The four tiles of a matrix, two of which the rank decides. */
function tilesAt(content, [lowRank, share, times]) {
	const [full, update, part, breakEven] = content.tiles;
	return [full, [update[0], grouped(lowRank), update[2]], [part[0], share, times], breakEven];
}

function block(name, size, width, height) {
	const figure = make("figure", `rs-block rs-block-${name.toLowerCase()}`);
	const area = make("div");
	area.style.width = `max(2px, calc(var(--side) * ${width}))`;
	area.style.height = `max(2px, calc(var(--side) * ${height}))`;
	const caption = make("figcaption");
	caption.append(make("b", "", name), make("span", "", size));
	figure.append(area, caption);
	return figure;
}

export function rankPicture(element, props, watch, trigger) {
	const box = element.querySelector(".rs-rank");
	const draw = (rank, frame) => {
		const content = parsed(props.value);
		box.replaceChildren();
		if (!content) return;
		const { d, k, full } = content;
		const [lowRank, , , warnings] = frame;
		const side = Math.max(d, k);
		const tiles = make("dl", "rs-tiles");
		tiles.append(...tilesAt(content, frame).map(tile));
		const [rows, columns, inner] = [d, k, rank].map(grouped);
		const blocks = make("div", "rs-blocks");
		blocks.setAttribute("role", "img");
		blocks.setAttribute(
			"aria-label",
			tr(
				"W′ = W + (α/r) · B · A, drawn to one scale: W has {full} numbers, B and A together {low_rank}.",
				{ full: grouped(full), low_rank: grouped(lowRank) },
			),
		);
		blocks.append(
			make("span", "rs-sum-sign", "W′ ="),
			block("W", `${rows} × ${columns}`, k / side, d / side),
			make("span", "rs-sum-sign", "+ (α/r) ·"),
			block("B", `${rows} × ${inner}`, rank / side, d / side),
			make("span", "rs-sum-sign", "×"),
			block("A", `${inner} × ${columns}`, k / side, rank / side),
		);
		const most = Math.max(full, lowRank);
		const wholeBar = sizeBar(content.bars[0], false);
		const lowRankBar = sizeBar(content.bars[1], true);
		wholeBar.show(full, most, grouped(full));
		lowRankBar.show(lowRank, most, grouped(lowRank));
		box.append(tiles, blocks, make("p", "rs-under", content.under), wholeBar.row, lowRankBar.row);
		box.append(...warnings.map((text) => make("p", "rs-note", text)));
	};
	const drawOwn = () => {
		const content = parsed(props.value);
		if (content) endRange(content.range.field, content.range.most);
		draw(content?.chosen.rank, content?.chosen.frame);
	};
	/* A rank, or a matrix, that is not among the frames is the server's to answer. */
	rankPictures.set(box.dataset.id, (rank, d, k) => {
		const content = parsed(props.value);
		const frame = content?.d === d && content?.k === k ? content.frames[rank - 1] : undefined;
		if (frame) draw(rank, frame);
		else trigger("input");
	});
	drawOwn();
	watch("value", drawOwn);
}

/* Tiles alone, of a whole model, for every rank. */
export function rankTiles(element, props, watch) {
	const box = element.querySelector(".rs-rank-tiles");
	const draw = (tiles) => {
		const list = make("dl", "rs-tiles");
		list.append(...(tiles ?? []).map(tile));
		box.replaceChildren(list);
	};
	const drawOwn = () => draw(parsed(props.value)?.chosen);
	rankPictures.set(box.dataset.id, (rank) => {
		const content = parsed(props.value);
		const numbers = content?.frames[rank - 1];
		if (numbers) draw(content.chosen.map(([label, , note], i) => [label, numbers[i], note]));
	});
	drawOwn();
	watch("value", drawOwn);
}
