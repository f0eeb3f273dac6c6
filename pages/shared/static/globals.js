/* For the classic scripts of the spectrum page, until they are modules. */

import { csv } from "./csv.js";
import { sizeBar } from "./elements.js";

window.rankscope = { csv, sizeBar };
