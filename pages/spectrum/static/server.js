/* What the page fetches about a matrix, and arrays of numbers as they are sent. */

import { tr } from "../shared/language.js";

/* An answer of pages/spectrum/routes.py. Throws an Error with its problem and remedy. */
export async function fetched(address) {
	const answer = await fetch(address);
	if (answer.ok) return answer;
	const silent = { problem: tr("The server did not answer."), remedy: tr("Reload the page.") };
	const error = await answer.json().catch(() => silent);
	throw new Error(`${error.problem} ${error.remedy}`);
}

const bytes = (base64) => Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0)).buffer;
export const floats = (base64) => new Float32Array(bytes(base64));
export const doubles = (base64) => new Float64Array(bytes(base64));
