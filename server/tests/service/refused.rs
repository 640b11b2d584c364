//! What is wrong with a task or with what is said of its answers is refused by a sentence that names it.

use models::{Named, TaskSettings};
use server::feedback::Feedback;
use server::service::Service;

use crate::world::*;

const FILE: &str = "digits/punctual.toml";

fn variant(model: &str, accuracy: &str) -> String {
    format!(
        "[[variant]]\nmodel = \"{model}\"\naccuracy = {accuracy}\nmetric = \"top-1\"\nsource = \"s\"\n"
    )
}

/// What keeps a task of that file out, in the order in which a server asks.
fn refusal(service: &Service, variants: &[(&str, &str)]) -> String {
    let text: String = variants.iter().map(|(model, accuracy)| variant(model, accuracy)).collect();
    let kind = |name: &str| match name {
        "digits" | "letters" => Named::Task,
        "slow" | "other" => Named::Model,
        _ => Named::Nothing,
    };
    let read = TaskSettings::from_text(FILE, &text).map_err(|error| error.to_string());
    let checked = read.and_then(|settings| {
        settings.check_models(kind).map_err(|error| error.to_string())?;
        Ok(settings)
    });
    checked.and_then(|settings| service.install_task("digits", settings)).unwrap_err()
}

/// Paths in a repository with their contents.
type Files = &'static [(&'static str, &'static str)];

#[tokio::test(flavor = "multi_thread")]
async fn wrong_or_hostile_tasks_are_refused_by_what_is_wrong_with_them() {
    let service = service(1, None);
    install_emulated(&service, loaded("slow", 20 * MS, MS), 1);
    let mut other = loaded("other", MS, MS);
    other.description.signature.outputs[0].name = "z".into();
    install_emulated(&service, other, 1);
    let table: [(&str, Files, &str); 6] = [
        (
            "an unknown model",
            &[("slow", "0.9"), ("ghost", "0.8")],
            "7: `model`: 'ghost' is in no repository",
        ),
        (
            "an accuracy that is none",
            &[("slow", "1.7")],
            "3: `accuracy`: expected a share from 0 to 1, found 1.7",
        ),
        (
            "a task that names itself",
            &[("digits", "0.9")],
            "2: `model`: 'digits' is a task; a task's variants are models, or tasks could go round in circles",
        ),
        (
            "tasks in a circle",
            &[("slow", "0.9"), ("letters", "0.8")],
            "7: `model`: 'letters' is a task; a task's variants are models, or tasks could go round in circles",
        ),
        (
            "other signatures",
            &[("slow", "0.9"), ("other", "0.8")],
            "7: `model`: 'other' does not fit 'slow', the first variant: output 'y' there is 'z' here",
        ),
        (
            "a variant twice",
            &[("slow", "0.9"), ("slow", "0.8")],
            "7: `model`: 'slow' is a variant of this task twice",
        ),
    ];
    for (what, variants, sentence) in table {
        assert_eq!(refusal(&service, variants), format!("{FILE}:{sentence}"), "{what}");
    }
    service
        .install_task("digits", TaskSettings::from_text(FILE, &variant("slow", "0.9")).unwrap())
        .unwrap();
    let feedback = Feedback { id: "made-up".into(), loss: 0.5.try_into().unwrap() };
    assert_eq!(
        service.feedback("digits", &feedback).unwrap_err().to_string(),
        "answer 'made-up' is not known: no answer of this task had that `answer_id` since the server started"
    );
    assert_eq!(
        service.feedback("ghost", &feedback).unwrap_err().to_string(),
        "Request for unknown task: 'ghost' is not found"
    );
    service.stop();
}
