"""The spectrum page: any matrix, any weight, any adapter's update, at every rank.

Four tabs, each in a module of its own. What stands in the address decides which one opens.
"""

from __future__ import annotations

import gradio as gr

from lora_engine.engine import Engine
from lora_engine.language import tr, translatable
from pages import SPECTRUM
from pages.shared import layout
from pages.shared.background_work import TabTasks
from pages.shared.wiring import expose
from pages.spectrum import adapter_tab, checkpoints_tab, matrix_tab, two_adapters_tab
from pages.spectrum.api import spectrum_endpoint, svd_endpoint
from pages.spectrum.matrix_cache import MatrixCache
from pages.spectrum.matrix_source import tab_in_address

HELP = translatable(r"""
Every matrix $W$ with $m$ rows and $n$ columns is a sum of rank-one matrices, one for each of its
singular values $\sigma_1 \ge \sigma_2 \ge \dots \ge 0$:

$$W = U \Sigma V^T = \sum_i \sigma_i\, u_i v_i^T, \qquad W_k = \sum_{i \le k} \sigma_i\, u_i v_i^T$$

No matrix of rank $k$ is nearer to $W$ than $W_k$ (Eckart and Young 1936). What is lost is known
beforehand: $\|W - W_k\|_F = \sqrt{\sum_{i>k} \sigma_i^2}$ and $\|W - W_k\|_2 = \sigma_{k+1}$.
The **energy** kept is $\sum_{i \le k} \sigma_i^2 / \|W\|_F^2$; storing $W_k$ takes $k\,(m + n)$
numbers ($\Sigma$ folded into $U$) instead of $m\,n$.

**Example.** The teaching matrix has $\sigma = 7.026, 3, 2.151, 0.115, 0$. Its rank is 4, since the
last value is zero, and $k = 2$ keeps $(7.026^2 + 3^2) / 63 = 92.6\,\%$ of its energy.

**Ranks.** The numerical rank counts $\sigma_i > \sigma_1 \max(m, n)\, \varepsilon$ with
$\varepsilon$ of the stored numbers. The stable rank is $\|W\|_F^2 / \sigma_1^2$. The effective rank
is $\exp(-\sum p \ln p)$ with $p = \sigma / \sum \sigma$ (Roy and Vetterli 2007); some tools take
$p = \sigma^2 / \sum \sigma^2$, which is another number.

**Noise.** Pure noise of standard deviation $s$ has no singular value above the Marchenko–Pastur
edge $s(\sqrt m + \sqrt n)$; cutting at the Gavish–Donoho threshold
([arXiv 1305.5870](https://arxiv.org/abs/1305.5870)) loses least.

**Pictures.** A large matrix is averaged over tiles to 512 × 512 points. Averaging commutes with
the product, so the averaged factors are sent once and your browser adds or subtracts one term for
each step of $k$. Averages hide entries of opposite sign: click a picture for an exact part, or
switch to root mean squares.

**Methods.** Up to a smaller side of 1,024 a plain SVD; up to 8,192 the eigenvalues of $W W^T$,
added up over blocks, exact above the floor it states; beyond, a randomized sketch with bounds on
the energy that hold with a probability above $1 - 10^{-10}$.
""")


def build(engine: Engine, cache: MatrixCache) -> gr.Blocks:
    tasks = TabTasks()
    with layout.shell(SPECTRUM) as blocks:
        with gr.Tabs(elem_id="spectrum-tabs") as tabs:
            with gr.Tab(tr("Matrix"), id="matrix") as tab:
                matrix_tab.build_tab(engine, cache, tasks, blocks, tab)
            with gr.Tab(tr("Adapter"), id="adapter") as tab:
                adapter_tab.build_tab(engine, tasks, blocks, tab)
            with gr.Tab(tr("Two adapters"), id="pair") as tab:
                two_adapters_tab.build_tab(engine, tasks, blocks, tab)
            with gr.Tab(tr("Checkpoints"), id="checkpoints"):
                checkpoints_tab.build_tab(engine, tasks, blocks)
        layout.how_this_works(tr(HELP))
        expose(svd_endpoint(engine), "svd")
        expose(spectrum_endpoint(engine), "spectrum")
        blocks.load(_selected_tab, outputs=[tabs], api_visibility="private", api_name="page_tab")
    return blocks


def _selected_tab(request: gr.Request) -> gr.Tabs:
    return gr.Tabs(selected=tab_in_address(request))
