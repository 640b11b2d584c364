//! Pages of results as a browser shows them: everything is there, visible and within the page.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

#[path = "samples/results.rs"]
mod samples;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use loadgen::page::Shown;
use loadgen::result::{Finding, Kind, ResultFile};
use samples::{GOOD, PLAIN};

const RATES: [f64; 7] = [300.0, 900.0, 1500.0, 1900.0, 2300.0, 3000.0, 4500.0];

/// Appended to a page: says what a reader would not see. A figure counts as seen if it has an area and stands in the page.
const LOOK: &str = "<script>
const wrong = [], wide = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > wide) wrong.push('the page is wider than the window');
for (const one of document.querySelectorAll('h1,h2,p,.tile,figure,svg,figcaption')) {
  const box = one.getBoundingClientRect();
  if (box.width < 1 || box.height < 1) wrong.push('not seen: ' + one.outerHTML.slice(0, 60));
  if (box.left < -1 || box.right > wide + 1) wrong.push('beyond the page: ' + one.outerHTML.slice(0, 60));
}
for (const text of document.querySelectorAll('svg text')) {
  const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal;
  if (box.x < -1 || box.x + box.width > view.width + 1 || box.y < -1 || box.y + box.height > view.height + 1)
    wrong.push('beyond its plot: ' + text.textContent);
}
const texts = [...document.querySelectorAll('.tile')].map(tile => [...tile.children].some(
  part => part.scrollWidth > tile.clientWidth));
if (texts.some(over => over)) wrong.push('a number does not fit its tile');
const end = document.createElement('pre');
end.id = 'verdict';
end.textContent = 'figures=' + document.querySelectorAll('figure svg').length + ';rows='
  + document.querySelectorAll('tbody tr').length + ';wrong=' + wrong.join(' | ') + ';';
document.body.append(end);
</script>";

fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let paths = std::env::var_os("PATH")?;
    let places: Vec<PathBuf> = std::env::split_paths(&paths).collect();
    names
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)))
        .find(|path| path.exists())
}

/// What the browser makes of the page in a window so wide.
fn seen(browser: &Path, name: &str, page: &str, width: u32) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{name}"));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("page.html");
    fs::write(&file, page.replace("</body>", &format!("{LOOK}</body>"))).unwrap();
    let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                 --disable-component-update --disable-sync --dump-dom";
    let output = Command::new(browser)
        .args(flags.split_whitespace())
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--window-size={width},1000"))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    let said = dom.split("<pre id=\"verdict\">").nth(1);
    said.unwrap_or_else(|| {
        panic!("the page did not load: {}", String::from_utf8_lossy(&output.stderr))
    })
    .split("</pre>")
    .next()
    .unwrap()
    .to_owned()
}

fn sweep() -> ResultFile {
    GOOD.result(Kind::Sweep, "Sweep of model", &RATES)
}

fn run() -> ResultFile {
    GOOD.result(Kind::Run, "Run of model", &[3000.0])
}

fn servers() -> Vec<ResultFile> {
    vec![sweep(), PLAIN.result(Kind::Sweep, "Sweep of model", &RATES)]
}

fn comparison() -> ResultFile {
    let mut result = GOOD.result(Kind::Compare, "Good against Plain", &[1500.0; 6]);
    result.series.extend(PLAIN.result(Kind::Compare, "", &[1500.0; 6]).series);
    result.findings.push(Finding {
        what: "Goodput of Good over Plain".into(),
        value: Some(1.37),
        unit: "times".into(),
        interval: Some([1.33, 1.41]),
        note: "6 rounds".into(),
    });
    result
}

/// Name, results, the plots that must be there, and the width of the window.
fn pages() -> Vec<(&'static str, Vec<ResultFile>, usize, u32)> {
    let mut late = run();
    late.series[0].points[0].report.client_on_time = false;
    vec![
        ("sweep", vec![sweep()], 7, 1360),
        ("late", vec![late], 6, 700),
        ("servers", servers(), 4, 1360),
        ("comparison", vec![comparison()], 4, 700),
        ("overlay", vec![run(), PLAIN.result(Kind::Run, "Run of model", &[3000.0])], 5, 1360),
    ]
}

#[test]
fn a_browser_shows_every_plot_and_nothing_leaves_the_page() {
    let Some(browser) = chromium() else {
        eprintln!("skipped: no chromium in PATH");
        return;
    };
    for (name, results, figures, width) in pages() {
        let page = Shown::of(&results).html();
        let rows: usize = results.iter().map(|result| result.points().count()).sum();
        let seen = seen(&browser, name, &page, width);
        assert_eq!(seen, format!("figures={figures};rows={rows};wrong=;"), "{name} at {width}");
    }
}

#[test]
fn a_page_needs_nothing_from_elsewhere_and_escapes_names() {
    let mut result = run();
    result.series[0].points[0].load = "<script>alert(1)</script>".into();
    result.title = "a <b> & c".into();
    let page = Shown::of(&[result]).html();
    assert!(page.contains("a &lt;b&gt; &amp; c"));
    for outside in ["<script", " src=", " href=", "@import", "url(", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn runs_with_a_late_client_are_marked_and_others_are_not() {
    let marked = |result: ResultFile| Shown::of(&[result]).html().contains("Do not trust 1 of 1");
    let mut late = run();
    late.series[0].points[0].report.client_on_time = false;
    assert!(marked(late) && !marked(run()));
}

#[test]
fn the_curve_of_several_servers_is_a_file_of_its_own_with_a_line_for_each() {
    let servers = servers();
    let svg = Shown::of(&servers).goodput_svg().unwrap();
    assert!(svg.starts_with("<svg xmlns="));
    assert_eq!(svg.matches("stroke-width=\"2.2\"").count(), 2);
    assert!(svg.contains(">Good 1.0</text>") && svg.contains(">Plain 2.1</text>"));
    assert_eq!(Shown::of(&[run()]).goodput_svg(), None);
}

#[test]
fn the_same_server_twice_has_two_names() {
    let page = Shown::of(&[sweep(), sweep()]).html();
    assert!(page.contains(">Good 1.0</text>") && page.contains(">Good 1.0 (2)</text>"));
}
