//! What is looked at: which pane, which row, in which order.
//!
//! Owns what keys change; what is known of the agent is in `model`. The invariant: what is chosen stays chosen when rows come, go or
//! change places.

use ratatui::widgets::TableState;

use super::keys::{Action, Key, action};
use super::looks::Subject;

/// Characters of a text that rows are searched for: a line.
const FILTER_CHARS_MAX: usize = 40;

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Overview,
    Members,
    Workloads,
    Events,
    Help,
    /// One member or workload, which [`Ui::subject`] names.
    Closely,
}

/// Which of the two lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Focus {
    #[default]
    Members,
    Workloads,
}

/// One list: what is chosen of it, and its order.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    /// As the widget wants it.
    pub(super) table: TableState,
    /// The column that it is sorted by; `None` for the agent's order.
    pub(super) sorted_by: Option<usize>,
    pub(super) is_reversed: bool,
    /// Rows as they were drawn last, by what tells them apart.
    ids: Vec<String>,
    chosen: Option<String>,
}

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Ui {
    pub(super) pane: Pane,
    pub(super) focus: Focus,
    pub(super) members: List,
    pub(super) workloads: List,
    /// What is looked at closely, or was last.
    pub(super) subject: Subject,
    /// Rows of a text that are above the screen.
    pub(super) scrolled: u16,
    /// Only rows with this text are shown.
    pub(super) filter: String,
    /// Whether that is being typed.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// Where one came from.
    before: Pane,
}

/// Whether the view goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Quit,
}

impl List {
    /// Takes in the rows that are there now, in their order.
    pub(super) fn settle(&mut self, ids: Vec<String>) {
        let stayed = self.chosen.as_ref().and_then(|chosen| ids.iter().position(|id| id == chosen));
        let at = stayed.or(self.table.selected()).unwrap_or(0).min(ids.len().saturating_sub(1));
        self.choose(ids, at);
    }

    fn choose(&mut self, ids: Vec<String>, at: usize) {
        self.chosen = ids.get(at).cloned();
        self.table.select(self.chosen.as_ref().map(|_| at));
        self.ids = ids;
    }

    fn move_to(&mut self, at: usize) {
        let ids = std::mem::take(&mut self.ids);
        let last = ids.len().saturating_sub(1);
        self.choose(ids, at.min(last));
    }

    fn sort(&mut self, columns: usize) {
        self.sorted_by = match self.sorted_by {
            None => Some(0),
            Some(column) if column + 1 < columns => Some(column + 1),
            Some(_) => None,
        };
        self.is_reversed = false;
    }
}

impl Ui {
    /// What the agent is to be asked about closely.
    pub(super) fn wanted(&self) -> Subject {
        if self.pane == Pane::Closely { self.subject.clone() } else { Subject::Nothing }
    }

    /// The list that keys move in; `None` where there is none.
    pub(super) const fn list(&mut self) -> Option<&mut List> {
        match (self.pane, self.focus) {
            (Pane::Members, _) | (Pane::Overview, Focus::Members) => Some(&mut self.members),
            (Pane::Workloads, _) | (Pane::Overview, Focus::Workloads) => Some(&mut self.workloads),
            (Pane::Events | Pane::Help | Pane::Closely, _) => None,
        }
    }

    /// Takes a key; `columns` is how many columns the two lists have.
    pub(super) fn press(&mut self, key: Key, columns: (usize, usize)) -> Then {
        if self.is_typing {
            self.type_key(key);
            return Then::GoOn;
        }
        match action(key) {
            None => {}
            Some(Action::Quit) => return Then::Quit,
            Some(Action::Overview) => self.show(Pane::Overview),
            Some(Action::Members) => {
                self.focus = Focus::Members;
                self.show(Pane::Members);
            }
            Some(Action::Workloads) => {
                self.focus = Focus::Workloads;
                self.show(Pane::Workloads);
            }
            Some(Action::Events) => self.show(Pane::Events),
            Some(Action::Help) if self.pane == Pane::Help => self.back(),
            Some(Action::Help) => self.show(Pane::Help),
            Some(Action::Move(rows)) => self.go(rows),
            Some(Action::First) => self.go(isize::MIN),
            Some(Action::Last) => self.go(isize::MAX),
            Some(Action::Other) => {
                self.focus = if self.focus == Focus::Members { Focus::Workloads } else { Focus::Members };
                match self.pane {
                    Pane::Members => self.show(Pane::Workloads),
                    Pane::Workloads => self.show(Pane::Members),
                    Pane::Overview | Pane::Events | Pane::Help | Pane::Closely => {}
                }
            }
            Some(Action::Open) => self.open(),
            Some(Action::Back) => self.back(),
            Some(Action::Sort) => {
                let columns = if self.focus == Focus::Members { columns.0 } else { columns.1 };
                self.list().into_iter().for_each(|list| list.sort(columns));
            }
            Some(Action::Reverse) => self.list().into_iter().for_each(|list| list.is_reversed = !list.is_reversed),
            Some(Action::Filter) => self.is_typing = self.list().is_some(),
            Some(Action::Pause) => self.is_paused = !self.is_paused,
        }
        Then::GoOn
    }

    fn show(&mut self, pane: Pane) {
        if !matches!(self.pane, Pane::Help | Pane::Closely) {
            self.before = self.pane;
        }
        (self.pane, self.scrolled) = (pane, 0);
    }

    fn back(&mut self) {
        if matches!(self.pane, Pane::Help | Pane::Closely) {
            let before = self.before;
            self.show(before);
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            self.show(Pane::Overview);
        }
    }

    fn open(&mut self) {
        let is_member = self.focus == Focus::Members;
        let Some(chosen) = self.list().and_then(|list| list.chosen.clone()) else { return };
        self.subject = if is_member { Subject::Member(chosen) } else { Subject::Workload(chosen) };
        self.show(Pane::Closely);
    }

    fn go(&mut self, rows: isize) {
        if let Some(list) = self.list() {
            let at = list.table.selected().unwrap_or(0).saturating_add_signed(rows);
            list.move_to(at);
        } else {
            let at = usize::from(self.scrolled).saturating_add_signed(rows);
            // How far there is to go is known when it is drawn.
            self.scrolled = u16::try_from(at).unwrap_or(u16::MAX);
        }
    }

    fn type_key(&mut self, key: Key) {
        match key {
            Key::Char(char) if self.filter.chars().count() < FILTER_CHARS_MAX => self.filter.push(char),
            Key::Backspace => drop(self.filter.pop()),
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Char(_) | Key::Tab | Key::Up | Key::Down | Key::PageUp | Key::PageDown | Key::Home | Key::End => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ui(ids: &[&str]) -> Ui {
        let mut ui = Ui::default();
        ui.members.settle(ids.iter().map(|id| (*id).to_owned()).collect());
        ui
    }

    fn press(ui: &mut Ui, keys: &str) {
        keys.chars().for_each(|key| assert_eq!(ui.press(Key::Char(key), (8, 7)), Then::GoOn));
    }

    #[test]
    fn what_is_chosen_stays_chosen_when_rows_change_places() {
        let mut ui = ui(&["a", "b", "c"]);
        press(&mut ui, "j");
        assert_eq!(ui.members.table.selected(), Some(1));
        ui.members.settle(["x", "c", "b"].map(str::to_owned).to_vec());
        assert_eq!(ui.members.table.selected(), Some(2));
        ui.members.settle(["x"].map(str::to_owned).to_vec());
        assert_eq!(ui.members.table.selected(), Some(0), "the nearest where it is gone");
        ui.members.settle(Vec::new());
        press(&mut ui, "jk");
        assert_eq!(ui.members.table.selected(), None);
    }

    #[test]
    fn what_is_opened_is_asked_for_and_left_where_one_came_from() {
        let mut ui = ui(&["a", "b"]);
        press(&mut ui, "mj");
        assert_eq!(ui.press(Key::Enter, (8, 7)), Then::GoOn);
        assert_eq!(ui.wanted(), Subject::Member("b".to_owned()));
        press(&mut ui, "?");
        assert_eq!(ui.wanted(), Subject::Nothing);
        ui.press(Key::Escape, (8, 7));
        assert_eq!((ui.pane, ui.wanted()), (Pane::Members, Subject::Nothing));
        ui.press(Key::Escape, (8, 7));
        assert_eq!(ui.pane, Pane::Overview);
    }

    #[test]
    fn letters_that_are_typed_are_no_keys() {
        let mut ui = ui(&["a"]);
        press(&mut ui, "/quit");
        assert_eq!((ui.filter.as_str(), ui.is_typing), ("quit", true));
        ui.press(Key::Enter, (8, 7));
        assert_eq!(ui.press(Key::Char('q'), (8, 7)), Then::Quit);
        ui.press(Key::Escape, (8, 7));
        assert_eq!(ui.filter, "", "escape takes the filter away first");
    }

    #[test]
    fn columns_take_turns_in_the_order() {
        let mut ui = ui(&["a"]);
        let mut orders = Vec::new();
        for _ in 0..4 {
            ui.press(Key::Char('s'), (2, 2));
            orders.push(ui.members.sorted_by);
        }
        assert_eq!(orders, [Some(0), Some(1), None, Some(0)]);
    }
}
