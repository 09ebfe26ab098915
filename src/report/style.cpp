#include "report/style.h"

namespace moe::report {

// Text on its ground has a contrast of 4.5 : 1 or more, curves 3 : 1. The eight colours are those
// of Okabe and Ito, darkened for paper and lightened for the dark.
std::string_view style_sheet() {
  return R"css(
:root {
  color-scheme: light dark;
  --ground: #ffffff; --text: #1b1f24; --soft: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --link: #0550ae; --mark: #fff1b8; --warn: #8a3a00;
  --c0: #0072b2; --c1: #c04f00; --c2: #00805c; --c3: #a8478a;
  --c4: #8f6a00; --c5: #3a6fd8; --c6: #b3261e; --c7: #444c56; --grey: #9aa4ae;
  --h0: #eef4fb; --h1: #dbe8f6; --h2: #c3d9ee; --h3: #a5c8e4; --h4: #7fb2d8;
  --h5: #5899ca; --h6: #387fb9; --h7: #2065a3; --h8: #0e4a86; --h9: #08306b; --dead: #e07b39;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1419; --text: #e6edf3; --soft: #9ea9b4; --line: #333c46; --panel: #182029;
    --link: #79b8ff; --mark: #5a4a00; --warn: #ffb27a;
    --c0: #56b4e9; --c1: #ff9a56; --c2: #2ec4a0; --c3: #e39fce;
    --c4: #f0c83c; --c5: #9db8ff; --c6: #ff8a80; --c7: #d0d7de; --grey: #5c6772;
    --h0: #16222e; --h1: #1a2d3e; --h2: #1e3a52; --h3: #234968; --h4: #2a5b82;
    --h5: #36719f; --h6: #4a8bbc; --h7: #6ba8d6; --h8: #97c8ec; --h9: #cfe8fc; --dead: #d9682a;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 0 1rem 3rem; background: var(--ground);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 1.2rem 0 0.2rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem;
  padding-top: 0.4rem; border-top: 1px solid var(--line); }
h4 { margin: 1.2rem 0 0.4rem; font-size: 1rem; }
a { color: var(--link); } a:focus-visible, summary:focus-visible, [tabindex]:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; list-style: none; padding: 0; margin: 0.6rem 0; }
.note, footer, .none { color: var(--soft); font-size: 0.9rem; } .notice { color: var(--warn); font-weight: 600; }
figure { margin: 0 0 1rem; min-width: 0; } figcaption { font-weight: 600; margin-bottom: 0.2rem; }
figure > svg { display: block; width: 100%; height: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0.6rem 1.6rem; }
.charts figure { max-width: 34rem; }
svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
svg .tick { fill: var(--soft); } svg .name { fill: var(--soft); font-size: 12.5px; } svg .label { font-weight: 600; font-size: 13px;
  paint-order: stroke; stroke: var(--ground); stroke-width: 4px; stroke-linejoin: round; }
.grid { stroke: var(--line); stroke-width: 0.7; } .axis { stroke: var(--soft); }
.mark { stroke: var(--soft); stroke-dasharray: 2 4; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); } .grey { color: var(--grey); }
.curve { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.dashed { stroke-dasharray: 6 4; } .faint { stroke-width: 1; opacity: 0.75; }
.dots { fill: currentColor; } .hollow { fill: none; stroke: currentColor; stroke-width: 1.5; }
.ring { fill: none; stroke: currentColor; stroke-width: 2; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.1rem 1.2rem; padding: 0; margin: 0.2rem 0; font-size: 0.9rem; }
.key { width: 26px; height: 12px; margin-right: 0.4rem; vertical-align: baseline; }
.shades { display: flex; flex-wrap: wrap; gap: 0.1rem 1.4rem; font-size: 0.9rem; margin: 0.2rem 0 0.6rem; }
.swatch { width: 14px; height: 12px; vertical-align: -1px; }
.h0 { fill: var(--h0); } .h1 { fill: var(--h1); } .h2 { fill: var(--h2); } .h3 { fill: var(--h3); } .h4 { fill: var(--h4); }
.h5 { fill: var(--h5); } .h6 { fill: var(--h6); } .h7 { fill: var(--h7); } .h8 { fill: var(--h8); } .h9 { fill: var(--h9); } .dead { fill: var(--dead); }
.load { border-left: 0.9rem solid var(--h0); padding-left: 0.5rem; }
.load.h1 { border-color: var(--h1); } .load.h2 { border-color: var(--h2); } .load.h3 { border-color: var(--h3); } .load.h4 { border-color: var(--h4); }
.load.h5 { border-color: var(--h5); } .load.h6 { border-color: var(--h6); } .load.h7 { border-color: var(--h7); } .load.h8 { border-color: var(--h8); }
.load.h9 { border-color: var(--h9); } .load.dead { border-color: var(--dead); }
.scroll { overflow-x: auto; max-width: 100%; margin: 0.4rem 0 1rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; color: var(--soft); padding-bottom: 0.2rem; }
th, td { padding: 0.22rem 0.8rem 0.22rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td, thead th { white-space: nowrap; } td:last-child { white-space: normal; }
th[scope=row] { font-weight: 500; } thead th { color: var(--soft); font-weight: 600; }
mark { background: var(--mark); color: inherit; padding: 0 0.2rem; border-radius: 3px; font-weight: 600; }
code, pre { font: 0.92em/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.7rem 0.9rem; margin: 0 0 1rem; }
details { margin: 0.4rem 0 1rem; } summary { cursor: pointer; color: var(--link); }
.bars { display: block; width: 12rem; background: var(--panel); } .bar { display: block; height: 0.9rem; margin-top: 0.25rem; background: var(--c0); }
@media (max-width: 40rem) { .wide { overflow-x: auto; } .wide > svg { min-width: 36rem; } body { padding: 0 0.7rem 2rem; } }
@media print {
  :root { color-scheme: light; --ground: #ffffff; --text: #000000; --soft: #444444; --line: #cccccc; --panel: #ffffff; --mark: #fff1b8; --link: #000000; --warn: #8a3a00;
    --c0: #0072b2; --c1: #c04f00; --c2: #00805c; --c3: #a8478a; --c4: #8f6a00; --c5: #3a6fd8; --c6: #b3261e; --c7: #444c56; --grey: #9aa4ae;
    --h0: #eef4fb; --h1: #dbe8f6; --h2: #c3d9ee; --h3: #a5c8e4; --h4: #7fb2d8; --h5: #5899ca; --h6: #387fb9; --h7: #2065a3; --h8: #0e4a86; --h9: #08306b; --dead: #e07b39; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; font-size: 10.5pt; } nav, .skip, details:not([open]) { display: none; }
  figure, tr, pre { break-inside: avoid; } h2, h4, figcaption, .shades { break-after: avoid; } .scroll { overflow: visible; }
}
)css";
}

}  // namespace moe::report
