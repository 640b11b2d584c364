//! `punctual fit` as an operator meets it: the example classifiers of scans, labelled scans, the program's own words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/scans.rs"]
mod scans;

use models::TaskSettings;
use tempfile::TempDir;

use crate::scans::{punctual, runs_models};

const TASK: &str = "# Which digit a scan shows.
[task]
slo = \"50ms\"

[[variant]]
model = \"digits_kernel_4495\" # the best one
accuracy = 0.9922
metric = \"top-1\"
source = \"nobody\"
cost = 333

[[variant]]
model = \"digits_mlp_128\"
accuracy = 0.9621
metric = \"top-1\"
source = \"nobody\"
cost = 9.5
";

/// Two classifiers, their task, and the scans that no training saw; of those few, too.
fn repository(task: &str) -> TempDir {
    let root = scans::repository(["kernel_4495", "mlp_128"], task);
    std::fs::write(root.path().join("few.csv"), scans::held_out(200)).unwrap();
    root
}

fn fit(root: &TempDir, name: &str, file: &str, more: &[&str]) -> (Option<i32>, String) {
    let path = root.path().join(file);
    let words = ["fit", name, "--data", path.to_str().unwrap()];
    punctual(root, &[&words[..], more].concat())
}

fn task(root: &TempDir) -> String {
    std::fs::read_to_string(root.path().join("models/digits/punctual.toml")).unwrap()
}

#[test]
fn a_cascade_is_fitted_written_behind_the_task_and_fitted_again_in_its_place() {
    if !runs_models() {
        return;
    }
    let root = repository(TASK);
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "1%"]);
    assert_eq!((code, task(&root)), (Some(0), TASK.to_owned()), "nothing is written: {said}");
    assert!(said.contains("loss of at most 1 % next to digits_kernel_4495, 95 %"), "{said}");
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "0.01", "--write"]);
    assert!(code == Some(0) && said.contains("once `answer = \"cascade\"` stands"), "{said}");
    let written = task(&root);
    let added = written.strip_prefix(TASK).unwrap_or_else(|| panic!("{written}"));
    assert!(added.contains("[confidence]\noutput = \"probabilities\"\n"), "{added}");
    let settings = TaskSettings::from_text("t", &written).unwrap();
    let [tier] = &settings.cascade[..] else { panic!("{written}") };
    assert_eq!(f64::from(*tier.loss.get_ref()), 0.01);
    let stages: Vec<_> = tier.stages.iter().map(|stage| stage.model.get_ref().as_str()).collect();
    assert_eq!(stages, ["digits_mlp_128", "digits_kernel_4495"]);
    // The best one is right 0.9922 of the time, and the bound is for 1 %.
    assert!(f64::from(tier.accuracy) > 0.9922 * 0.99, "{written}");
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "1 %", "--write"]);
    assert_eq!((code, task(&root)), (Some(0), written), "the same rows and seed: {said}");
}

#[test]
fn several_losses_are_several_cascades_and_a_larger_one_saves_more() {
    if !runs_models() {
        return;
    }
    let root = repository(TASK);
    let more = ["--loss", "1%", "--loss", "5%", "--write"];
    let (code, said) = fit(&root, "digits", "held_out.csv", &more);
    assert_eq!(code, Some(0), "{said}");
    let saved: Vec<f64> = said
        .lines()
        .filter_map(|line| line.strip_suffix(" % saved")?.rsplit_once(' ')?.1.parse().ok())
        .collect();
    assert!(matches!(saved[..], [strict, loose] if 0.0 < strict && strict < loose), "{said}");
    assert_eq!(TaskSettings::from_text("t", &task(&root)).unwrap().cascade.len(), 2);
}

#[test]
fn what_cannot_be_fitted_is_refused_with_a_sentence_that_names_it() {
    if !runs_models() {
        return;
    }
    let root = repository(TASK);
    let one = TASK.split("\n[[variant]]\nmodel = \"digits_mlp_128\"").next().unwrap();
    std::fs::create_dir(root.path().join("models/alone")).unwrap();
    std::fs::write(root.path().join("models/alone/punctual.toml"), one).unwrap();
    let loss = "--loss";
    let cases: [(&str, &str, &[&str], i32, &str); 9] = [
        ("digit", "held_out.csv", &[loss, "1%"], 1, "'digit' is in no repository"),
        ("digits_mlp_128", "few.csv", &[loss, "1%"], 1, "is a model; only a task has cascades"),
        ("alone", "few.csv", &[loss, "1%"], 1, "'alone' has one variant; a cascade asks two"),
        (
            "digits",
            "few.csv",
            &[loss, "1%"],
            1,
            "200 rows are too few to tell a loss of 1 % with 95 % confidence; it takes 299",
        ),
        ("digits", "few.csv", &[loss, "150%"], 2, "expected a share above 0 and below 1"),
        ("digits", "few.csv", &[loss, "0"], 2, "expected a share above 0 and below 1"),
        (
            "digits",
            "few.csv",
            &[loss, "5%", "--confidence", "1"],
            2,
            "expected a share from 0.5 to 0.99",
        ),
        (
            "digits",
            "few.csv",
            &[loss, "5%", "--output", "x"],
            1,
            "there is no output 'x'; there are digit, probabilities",
        ),
        (
            "digits",
            "few.csv",
            &[loss, "5%", "--output", "digit"],
            1,
            "'digit' is INT64 [-1, 1], which holds no score for each class",
        ),
    ];
    for (name, file, more, expected, sentence) in cases {
        let (code, said) = fit(&root, name, file, more);
        assert!(code == Some(expected) && said.contains(sentence), "{sentence}: {code:?} {said}");
    }
    assert_eq!(task(&root), TASK);
}

#[test]
fn where_the_best_variant_is_the_cheapest_no_cascade_is_written() {
    if !runs_models() {
        return;
    }
    // The best one is also the cheapest: nothing can be saved.
    let root = repository(&TASK.replace("cost = 333", "cost = 9"));
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "5%"]);
    assert!(code == Some(0) && said.contains("digits_kernel_4495 answers alone"), "{said}");
    let (code, said) = fit(&root, "digits", "held_out.csv", &["--loss", "5%", "--write"]);
    assert!(code == Some(1) && said.contains("nothing was written"), "{said}");
    assert_eq!(task(&root), TASK.replace("cost = 333", "cost = 9"));
}
