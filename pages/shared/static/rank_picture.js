/* One matrix and its factors at every rank, and a row of numbers at every rank.
   The frames of the first ranks arrive together, so that moving the rank asks the server nothing:
   `showRank` picks one. All numbers and texts are the server's. */

import { make, parsed, sizeBar, tile } from "./elements.js";
import { endRange } from "./range.js";

/* By element id: what draws a rank. */
const rankPictures = new Map();

export function showRank(id, rank, d, k) {
	rankPictures.get(id)?.(rank, d, k);
	return [];
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
	const draw = (frame) => {
		const content = parsed(props.value);
		box.replaceChildren();
		if (!content) return;
		const side = Math.max(content.d, content.k);
		const tiles = make("dl", "rs-tiles");
		tiles.append(...frame.tiles.map(tile));
		const blocks = make("div", "rs-blocks");
		blocks.setAttribute("role", "img");
		blocks.setAttribute("aria-label", frame.words);
		const [w, b, a] = frame.sizes;
		blocks.append(
			make("span", "rs-sum-sign", "W′ ="),
			block("W", w, content.k / side, content.d / side),
			make("span", "rs-sum-sign", "+ (α/r) ·"),
			block("B", b, frame.rank / side, content.d / side),
			make("span", "rs-sum-sign", "×"),
			block("A", a, content.k / side, frame.rank / side),
		);
		const most = Math.max(frame.full, frame.low_rank);
		const whole = sizeBar(content.bars[0], false);
		const lowRank = sizeBar(content.bars[1], true);
		whole.show(frame.full, most, frame.tiles[0][1]);
		lowRank.show(frame.low_rank, most, frame.tiles[1][1]);
		box.append(tiles, blocks, make("p", "rs-under", content.under), whole.row, lowRank.row);
		box.append(...frame.warnings.map((text) => make("p", "rs-note", text)));
	};
	const drawOwn = () => {
		const content = parsed(props.value);
		if (content) endRange(content.range.field, content.range.most);
		draw(content?.chosen);
	};
	/* A rank, or a matrix, that is not among the frames is the server's to answer. */
	rankPictures.set(box.dataset.id, (rank, d, k) => {
		const content = parsed(props.value);
		const frame = content?.d === d && content?.k === k ? content.frames[rank - 1] : undefined;
		if (frame) draw(frame);
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
		const frame = parsed(props.value)?.frames[rank - 1];
		if (frame) draw(frame);
	});
	drawOwn();
	watch("value", drawOwn);
}
