//! The stored state, while no agent has it open: whether it can be read back whole.

use std::error::Error;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::finding::{Finding, Outcome};
use super::place::Place;
use crate::cli::units::span as rough;
use crate::store::{Store, StoreError, Survey};

/// How long reading may take. A state that takes longer is for the next start to judge, which reads it too.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the next start would find.
pub(super) async fn state(place: &Place) -> Outcome {
    place.looked()?;
    if let Some(running) = &place.running {
        return Err(format!(
            "it is not looked at while an agent has it open (process {}), whose health covers it",
            running.pid
        ));
    }
    let (tell, told) = oneshot::channel();
    let dir = place.data_dir.clone();
    // A thread of its own: whoever has waited long enough goes on, and it ends with the process.
    let reading =
        std::thread::Builder::new().name("survey".to_owned()).spawn(move || drop(tell.send(Store::survey(&dir))));
    reading.map_err(|error| format!("the system grants no thread: {error}"))?;
    let survey = match tokio::time::timeout(PATIENCE, told).await {
        Ok(survey) => survey.map_err(|_| "reading it ended early".to_owned())?,
        Err(_) => {
            return Err(format!("reading it takes more than {} s; the next start reads it whole", PATIENCE.as_secs()));
        }
    };
    if Store::holder(&place.data_dir).is_ok_and(|holder| holder.is_some()) {
        return Err("an agent was started meanwhile, and has it open".to_owned());
    }
    judge(survey, SystemTime::now())
}

fn judge(survey: Result<Option<Survey>, StoreError>, now: SystemTime) -> Outcome {
    let survey = match survey {
        Ok(Some(survey)) => survey,
        Ok(None) => return Err("there is none yet".to_owned()),
        Err(error @ StoreError::Newer { .. }) => {
            return Ok(vec![Finding::error(
                error.to_string(),
                "install the release that wrote it, or restore a backup from before",
            )]);
        }
        Err(error) => {
            return Err(error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")));
        }
    };
    if let Some(format) = survey.older {
        let what = format!("it is of an earlier format ({format}), which the next start brings forward");
        return Ok(vec![Finding::note(what, "nothing; the release before will refuse it from then on")]);
    }
    let mut found = Vec::new();
    if let Some(damage) = &survey.damage {
        let what = format!(
            "the stored state is damaged ({damage}); the next start begins anew without it, and fetches it from other members"
        );
        let mend = "look at the disk first (dmesg; smartctl -a). Where no other member has the state: restore a backup before the agent is started";
        found.push(Finding::error(what, mend));
    }
    if survey.cuts > 0 {
        let what = format!(
            "the log cannot be read in {} places; the next start cuts it there, and fetches what follows from other members",
            survey.cuts
        );
        found.push(Finding::error(
            what,
            "look at the disk (dmesg; smartctl -a); a backup is of use only where no other member is left",
        ));
    }
    if found.is_empty() {
        let newest = SystemTime::UNIX_EPOCH + Duration::from_millis(survey.latest_ms);
        let last = match now.duration_since(newest) {
            _ if survey.latest_ms == 0 => "nothing was ever written".to_owned(),
            Ok(ago) => format!("the last of {} ago", rough(ago)),
            Err(ahead) => format!("the last of a clock that is {} ahead", rough(ahead.duration())),
        };
        let what = format!(
            "it can be read whole: {} objects, and {} commits in the log, {last}",
            survey.objects, survey.commits
        );
        found.push(Finding::note(what, "nothing"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn what_a_start_would_find_is_told() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7_200);
        let check = |survey: Survey, severity: Severity, words: &str| {
            let found = judge(Ok(Some(survey)), now).expect("looked at");
            assert_eq!((found.len(), found[0].severity), (1, severity), "{found:?}");
            assert!(found[0].what.contains(words), "{words:?} is not in {found:?}");
        };
        let whole = Survey { objects: 3, commits: 2, latest_ms: 3_600_000, ..Survey::default() };
        check(whole.clone(), Severity::Note, "3 objects, and 2 commits in the log, the last of 1h");
        check(Survey::default(), Severity::Note, "nothing was ever written");
        check(Survey { latest_ms: 9_000_000, ..whole.clone() }, Severity::Note, "ahead");
        check(Survey { older: Some(2), ..Survey::default() }, Severity::Note, "earlier format (2)");
        check(Survey { cuts: 2, ..whole.clone() }, Severity::Error, "in 2 places");
        check(Survey { damage: Some("the file".to_owned()), ..whole }, Severity::Error, "damaged (the file)");
        let newer = judge(Err(StoreError::Newer { found: 9, known: 3 }), now).expect("looked at");
        assert!(newer[0].severity == Severity::Error && newer[0].what.contains("format 9"), "{newer:?}");
        assert!(judge(Ok(None), now).is_err());
    }
}
