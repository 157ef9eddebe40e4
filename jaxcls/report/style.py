"""The look of the report: one style sheet, for wide screens, phones, dark rooms and paper.

Colours of Okabe and Ito (2008), which the colour-blind tell apart; dashes repeat the difference. Text has a contrast of
7:1 and more on its ground, what is drawn of 3:1.
"""

SHEET = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --dim: #4d5661; --rule: #d5dae0; --panel: #f5f7f9;
  --link: #005a91; --warn: #fff4e0; --warn-rule: #b45f00;
  --s0: #0072b2; --s1: #d55e00; --s2: #00805f; --s3: #b0578f; --s4: #6b5b00; --bar: #7fb2d6; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171b; --ink: #e9ecef; --dim: #b3bcc6; --rule: #3a424b;
  --panel: #1d2228; --link: #7cc4f2; --warn: #33270f; --warn-rule: #e69f00;
  --s0: #56b4e9; --s1: #f0883e; --s2: #2fc79b; --s3: #dd94c0; --s4: #e6d34a; --bar: #356f97; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 0 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p, ul { margin: .5rem 0; max-width: 46rem; }
ul { padding-left: 1.2rem; }
a { color: var(--link); }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .88em; }
section { border-top: 1px solid var(--rule); margin-top: 2.2rem; padding-top: 1.2rem; }
.dim, figcaption, caption { color: var(--dim); font-size: .9rem; }
.verdict { font-size: 1.15rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; list-style: none; padding: 0; font-size: .95rem;
  max-width: none; }
nav a { display: inline-block; padding: .25rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.tiles div { background: var(--panel); border-radius: .5rem; padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.45rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tiles span { display: block; color: var(--dim); font-size: .85rem; line-height: 1.35; }
.cautions { background: var(--warn); border-left: 4px solid var(--warn-rule); border-radius: .3rem;
  padding: .6rem 1rem; margin: 1rem 0; }
.cautions ul { margin: .3rem 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: .8rem 1.4rem;
  margin: .8rem 0; }
figure { margin: 0; max-width: 36rem; }
figure.wide { max-width: none; margin: .8rem 0; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .28rem .7rem .28rem 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
thead th { color: var(--dim); font-weight: 600; vertical-align: bottom; overflow-wrap: normal; }
tbody th { font-weight: 500; min-width: 6rem; }
td:not(.number) { min-width: 4.5rem; }
.number { text-align: right; white-space: nowrap; overflow-wrap: normal; }
.facts th { color: var(--dim); white-space: nowrap; padding-right: 1.5rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--link); padding: .25rem 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font-size: 12px; }
svg .title { font-weight: 600; font-size: 13.5px; }
svg .small { font-size: 11.5px; }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .faint { opacity: .3; stroke-width: 1; }
svg .reference { stroke: var(--dim); stroke-width: 1.2; stroke-dasharray: 2 4; }
svg .s0 { stroke: var(--s0); } svg .s1 { stroke: var(--s1); stroke-dasharray: 7 3; }
svg .s2 { stroke: var(--s2); stroke-dasharray: 2 3; } svg .s3 { stroke: var(--s3); stroke-dasharray: 9 3 2 3; }
svg .s4 { stroke: var(--s4); stroke-dasharray: 4 2; }
svg .dot { stroke: var(--paper); stroke-width: 1; stroke-dasharray: none; }
svg .dot.s0 { fill: var(--s0); } svg .dot.s1 { fill: var(--s1); } svg .dot.s2 { fill: var(--s2); }
svg .dot.s3 { fill: var(--s3); } svg .dot.s4 { fill: var(--s4); }
svg .cloud { fill: none; stroke-width: 5; stroke-dasharray: none; opacity: .75; }
svg .cloud.round { stroke-linecap: round; } svg .cloud.square { stroke-linecap: square; }
svg .cloud.rest { stroke: var(--rule); }
svg .bar { fill: var(--bar); } svg .line.span { stroke-width: 1.4; stroke-dasharray: none; }
.strip { display: block; width: 9rem; height: .95rem; margin-top: .22rem; }
.strip .ground { fill: var(--panel); } .strip .bar { fill: var(--bar); }
.strip .span { stroke: var(--ink); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
.matrix { margin: .8rem 0; }
.matrix svg .cell { stroke: var(--paper); stroke-width: 1; }
.matrix img { image-rendering: pixelated; width: 100%; height: auto; border: 1px solid var(--rule); display: block; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); gap: 1rem;
  margin: .8rem 0; padding: 0; list-style: none; max-width: none; }
.cards li { background: var(--panel); border-radius: .5rem; padding: .6rem; font-size: .9rem; line-height: 1.4;
  break-inside: avoid; }
.cards .views { display: grid; grid-template-columns: repeat(auto-fit, minmax(40%, 1fr)); gap: .4rem; }
.cards img { width: 100%; height: auto; display: block; border-radius: .25rem; }
.cards img.small { image-rendering: pixelated; }
.cards b { display: block; margin-top: .4rem; }
.cards .dim { font-size: .82rem; }
.neighbours { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 6.5rem)); gap: .6rem .5rem;
  margin: .8rem 0; padding: 0; list-style: none; max-width: none; font-size: .85rem; line-height: 1.3; }
.neighbours img { width: 100%; height: auto; display: block; border-radius: .25rem; }
.neighbours img.small { image-rendering: pixelated; }
.neighbours .query img { outline: 3px solid var(--s0); outline-offset: -1px; }
.neighbours .query span { color: var(--dim); }
footer { margin-top: 2.5rem; border-top: 1px solid var(--rule); padding-top: .8rem; }
@media (max-width: 480px) { body { padding: .6rem 1rem 3rem; } h1 { font-size: 1.4rem; } .strip { width: 5.5rem; }
  .tiles { grid-template-columns: 1fr 1fr; } .cards { grid-template-columns: 1fr 1fr; gap: .6rem; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --dim: #333; --rule: #bbb; --panel: #fff;
    --warn: #fff; --link: #000; --s0: #0072b2; --s1: #d55e00; --s2: #00805f; --s3: #b0578f; --s4: #6b5b00;
    --bar: #7fb2d6; }
  body { max-width: none; padding: 0; font-size: 10.5pt; } nav { display: none; }
  section, figure, .tiles div, tr { break-inside: avoid; } section { break-inside: auto; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; } .tiles div, .cards li { border: 1px solid var(--rule); }
  .cards { grid-template-columns: repeat(4, 1fr); } .plots { grid-template-columns: 1fr 1fr; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  details:not([open])::details-content { content-visibility: visible; display: block; block-size: auto; } }
"""
