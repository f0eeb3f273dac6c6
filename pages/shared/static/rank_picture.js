/* One matrix and its factors at every rank, and a row of numbers at every rank.
   The frames of all ranks arrive together, so that moving the rank asks the server nothing:
   `showRank` picks one. All numbers and texts are the server's. */

import { make, parsed, sizeBar, tile } from "./elements.js";

/* By element id: what draws a rank. */
const rankPictures = new Map();

export function showRank(id, rank) {
	rankPictures.get(id)?.(Number(rank));
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

export function rankPicture(element, props, watch) {
	const box = element.querySelector(".rs-rank");
	let rank = null;
	const draw = () => {
		const content = parsed(props.value);
		if (!content) return;
		rank = rank ?? content.rank;
		const frame = content.frames[Math.min(Math.max(rank, 1), content.frames.length) - 1];
		const side = Math.max(content.d, content.k);
		const tiles = make("dl", "rs-tiles");
		tiles.append(...frame.tiles.map(tile));
		const blocks = make("div", "rs-blocks");
		blocks.setAttribute("role", "img");
		blocks.setAttribute("aria-label", frame.words);
		const [w, b, a] = frame.sizes;
		blocks.append(
			block("W", w, content.k / side, content.d / side),
			block("B", b, frame.rank / side, content.d / side),
			block("A", a, content.k / side, frame.rank / side),
		);
		const most = Math.max(frame.full, frame.low_rank);
		const whole = sizeBar("whole matrix", false);
		const lowRank = sizeBar("low rank", true);
		whole.show(frame.full, most, frame.tiles[0][1]);
		lowRank.show(frame.low_rank, most, frame.tiles[1][1]);
		box.replaceChildren(tiles, blocks, whole.row, lowRank.row);
		box.append(...frame.warnings.map((text) => make("p", "rs-note", text)));
	};
	rankPictures.set(box.dataset.id, (chosen) => {
		rank = chosen;
		draw();
	});
	draw();
	watch("value", () => {
		rank = parsed(props.value)?.rank ?? rank;
		draw();
	});
}

/* Tiles alone, of a whole model, for every rank. */
export function rankTiles(element, props, watch) {
	const box = element.querySelector(".rs-rank-tiles");
	const draw = (rank) => {
		const { frames } = parsed(props.value) ?? { frames: [] };
		const tiles = make("dl", "rs-tiles");
		tiles.append(...(frames[Math.min(rank, frames.length) - 1] ?? []).map(tile));
		box.replaceChildren(tiles);
	};
	const drawOwn = () => draw(parsed(props.value)?.rank ?? 1);
	rankPictures.set(box.dataset.id, draw);
	drawOwn();
	watch("value", drawOwn);
}
