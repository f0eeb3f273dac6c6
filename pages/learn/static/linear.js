/* Singular values of matrices small enough to print, by one-sided Jacobi rotations, and which row
   follows from those above it. Matrices are arrays of rows. The engine's numbers are NumPy's; a
   test compares. */

export const transposed = (rows) => rows[0].map((_, j) => rows.map((row) => row[j]));

export const product = (left, right) =>
	left.map((row) => right[0].map((_, j) => row.reduce((sum, x, i) => sum + x * right[i][j], 0)));

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

const SWEEPS = 60;

/* Rotate two columns, and those of `v` with them, until they are orthogonal. */
function rotate(columns, v, p, q) {
	const [a, b, c] = [
		dot(columns[p], columns[p]),
		dot(columns[q], columns[q]),
		dot(columns[p], columns[q]),
	];
	if (Math.abs(c) <= 1e-16 * Math.sqrt(a * b) || c === 0) return false;
	const zeta = (b - a) / (2 * c);
	const tangent = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
	const cosine = 1 / Math.sqrt(1 + tangent * tangent);
	const sine = cosine * tangent;
	for (const one of [columns, v]) {
		const [x, y] = [one[p], one[q]];
		one[p] = x.map((value, i) => cosine * value - sine * y[i]);
		one[q] = x.map((value, i) => sine * value + cosine * y[i]);
	}
	return true;
}

/* The singular values, largest first, with u[i] and v[i] the directions of the i-th. A value that
   is zero to rounding has u[i] = 0. */
export function svd(rows) {
	const columns = transposed(rows);
	const n = columns.length;
	const v = columns.map((_, i) => columns.map((_, j) => Number(i === j)));
	let turned = true;
	for (let sweep = 0; turned && sweep < SWEEPS; sweep++) {
		turned = false;
		for (let p = 0; p < n - 1; p++)
			for (let q = p + 1; q < n; q++) turned = rotate(columns, v, p, q) || turned;
	}
	const found = columns.map((column, i) => ({
		s: Math.sqrt(dot(column, column)),
		column,
		v: v[i],
	}));
	found.sort((a, b) => b.s - a.s);
	return {
		s: found.map(({ s }) => s),
		u: found.map(({ s, column }) => column.map((x) => (s > 0 ? x / s : 0))),
		v: found.map((one) => one.v),
	};
}

/* As numpy.linalg.matrix_rank counts: what is above σ₁ · max(m, n) · eps. */
export function rankOf(values, m, n) {
	const tolerance = values[0] * Math.max(m, n) * Number.EPSILON;
	return values.filter((value) => value > tolerance).length;
}

/* The first row that is a sum of multiples of rows above it: `{ row, parts }`, parts by row;
   undefined where there is none. */
export function dependentRow(rows) {
	const tolerance = 1e-9 * Math.max(...rows.flat().map(Math.abs), 1e-300);
	const basis = [];
	for (const [i, row] of rows.entries()) {
		let rest = [...row];
		let parts = rows.map((_, j) => Number(i === j));
		for (const one of basis) {
			const factor = rest[one.pivot] / one.rest[one.pivot];
			rest = rest.map((x, j) => x - factor * one.rest[j]);
			parts = parts.map((x, j) => x - factor * one.parts[j]);
		}
		const pivot = rest.reduce((best, x, j) => (Math.abs(x) > Math.abs(rest[best]) ? j : best), 0);
		if (Math.abs(rest[pivot]) <= tolerance) {
			return { row: i, parts: parts.map((x, j) => (j === i ? 0 : -x)) };
		}
		basis.push({ rest, parts, pivot });
	}
	return undefined;
}
