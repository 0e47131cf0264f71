//! From the names in scripts to all that they reach.

use std::collections::{HashMap, HashSet};

use super::graph::{
    Graph, Id, PG_CLASS, PG_CONSTRAINT, PG_EVENT_TRIGGER, PG_PROC, PG_REWRITE, PG_STATISTIC_EXT,
    PG_TRIGGER, PG_TYPE,
};
use super::words::{Words, is_word};
use crate::files::Script;

/// What is to be done about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// It is copied with all that it cannot do without.
    Copy(Id),
    /// It may run.
    Run(Id),
    /// It may be changed or dropped, with all that rests on it.
    Strike(Id),
}

/// What is reached so far.
pub(super) struct Walk<'a> {
    graph: &'a Graph,
    names: Names<'a>,
    done: HashSet<Step>,
    open: Vec<Step>,
    /// Whether emptying a table empties those that refer to it.
    truncates: bool,
    /// A function's text that may reach what it does not name.
    unknown: Option<String>,
}

/// Objects by name in lower case.
struct Names<'a> {
    words: HashMap<String, Vec<Id>>,
    /// Names of more than one word.
    odd: Vec<(&'a str, Id)>,
}

impl<'a> Walk<'a> {
    /// The relations that the scripts reach; the reason if that cannot be told.
    pub(super) fn of(graph: &'a Graph, scripts: &[&Script]) -> Result<HashSet<Id>, String> {
        let mut texts = Vec::new();
        let mut truncates = false;
        for script in scripts {
            for statement in &script.statements {
                let words = Words::of(&script.sql[statement.range.clone()]);
                if let Some(what) = words.beyond_names() {
                    return Err(format!("{}:{} has `{what}`", script.file, statement.line));
                }
                truncates |= words.truncates();
                texts.push(words);
            }
        }
        let names = Names::of(graph);
        let mut walk =
            Self { graph, names, done: HashSet::new(), open: Vec::new(), truncates, unknown: None };
        loop {
            walk.roots();
            texts.iter().for_each(|text| walk.text(text));
            let truncates = walk.truncates;
            while let Some(step) = walk.open.pop() {
                walk.step(step);
            }
            if let Some(unknown) = walk.unknown {
                return Err(unknown);
            }
            if truncates == walk.truncates {
                break;
            }
            // A function that runs truncates: what was walked before did not know.
            walk.done.clear();
        }
        let copied = walk.done.iter().filter_map(|step| match step {
            Step::Copy(id) => Some(*id),
            _ => None,
        });
        Ok(copied.collect())
    }

    /// What a copy has whatever the scripts say: what is no relation, with the relations that it cannot do without; the histories; tables whose
    /// name is also another thing's, since the dump's statements tell them apart by name.
    fn roots(&mut self) {
        for (one, needs) in &self.graph.needs {
            let unit = self.graph.unit(*one);
            if self.graph.can_be_left_out(unit) {
                continue;
            }
            needs.iter().for_each(|other| self.copy(*other));
            if one.0 == PG_EVENT_TRIGGER {
                needs.iter().for_each(|function| self.add(Step::Run(*function)));
            }
        }
        let mut by_name: HashMap<(&str, &str), Vec<Id>> = HashMap::new();
        for (id, object) in &self.graph.objects {
            if object.name == "refinery_schema_history"
                || object.name.starts_with("liftlock_schema_")
            {
                self.copy(*id);
            }
            let is_row_type = id.0 == PG_TYPE && self.graph.unit(*id) != *id;
            if !object.schema.is_empty() && id.0 != PG_CONSTRAINT && !is_row_type {
                by_name.entry((&object.schema, &object.name)).or_default().push(*id);
            }
        }
        for ids in by_name.into_values().filter(|ids| ids.len() > 1) {
            let kinds: HashSet<u32> = ids.iter().map(|id| id.0).collect();
            if kinds.len() > 1 {
                ids.into_iter().for_each(|id| self.copy(id));
            }
        }
    }

    fn add(&mut self, step: Step) {
        if self.done.insert(step) {
            self.open.push(step);
        }
    }

    /// The relation that it is, or is a part of, if it can be left out.
    fn copy(&mut self, id: Id) {
        self.add(Step::Copy(self.graph.unit(id)));
    }

    fn text(&mut self, words: &Words<'_>) {
        for id in self.names.in_text(words) {
            match id.0 {
                PG_CLASS | PG_STATISTIC_EXT => self.add(Step::Strike(self.graph.unit(id))),
                PG_PROC => self.add(Step::Run(id)),
                _ => self.copy(id),
            }
            if words.strikes() {
                self.add(Step::Strike(self.graph.unit(id)));
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Copy(unit) => self.copied(unit),
            Step::Run(function) => self.run(function),
            Step::Strike(unit) => self.struck(unit),
        }
    }

    /// What it needs. A key of its own that leads on to another table can be left out.
    fn copied(&mut self, unit: Id) {
        let graph = self.graph;
        for part in graph.parts(unit) {
            if is_foreign_key(graph, *part) {
                continue;
            }
            for other in graph.needs.get(part).into_iter().flatten() {
                // The triggers of another table's key to this one are made with that key.
                if part.0 == PG_TRIGGER && other.0 == PG_CONSTRAINT {
                    continue;
                }
                self.copy(*other);
                if other.0 == PG_PROC {
                    self.add(Step::Run(*other));
                }
            }
        }
        // A tree of partitions is whole.
        if graph.is_table(unit) {
            let children = graph.needed_by.get(&unit).map_or(&[][..], Vec::as_slice);
            children
                .iter()
                .filter(|child| graph.is_table(**child))
                .for_each(|child| self.copy(*child));
        }
    }

    /// What a function's text names. PostgreSQL's own and those of extensions that are known look at nothing else.
    fn run(&mut self, function: Id) {
        self.copy(function);
        let Some(object) = self.graph.objects.get(&function) else { return };
        let name = || format!("function {}.{}", object.schema, object.name);
        match object.language.as_str() {
            "sql" | "plpgsql" => {}
            "internal" | "c" if object.of_extension || object.language == "internal" => return,
            language => {
                self.unknown.get_or_insert(format!("{} is written in {language}", name()));
                return;
            }
        }
        let words = Words::of(&object.body);
        if let Some(what) = words.beyond_names() {
            self.unknown.get_or_insert(format!("{} has `{what}`", name()));
            return;
        }
        self.truncates |= words.truncates();
        self.text(&words);
    }

    /// What rests on it, all the way.
    fn struck(&mut self, unit: Id) {
        let graph = self.graph;
        self.copy(unit);
        for part in graph.parts(unit) {
            if is_foreign_key(graph, *part) {
                graph.needs.get(part).into_iter().flatten().for_each(|other| self.copy(*other));
            }
            self.resting_on(*part, &mut HashSet::new());
        }
    }

    fn resting_on(&mut self, part: Id, seen: &mut HashSet<Id>) {
        let graph = self.graph;
        for other in graph.needed_by.get(&part).into_iter().flatten() {
            if !seen.insert(*other) {
                continue;
            }
            let unit = graph.unit(*other);
            self.copy(unit);
            // A relation is changed or goes itself. A key, a default, an index, a trigger goes alone.
            let itself = *other == unit || other.0 == PG_REWRITE;
            let referring = self.truncates && is_foreign_key(graph, *other);
            if itself || referring || other.0 == PG_TYPE {
                self.add(Step::Strike(unit));
            } else {
                self.resting_on(*other, seen);
            }
        }
    }
}

fn is_foreign_key(graph: &Graph, part: Id) -> bool {
    part.0 == PG_CONSTRAINT
        && (graph.kind(part) == "f" || graph.kind(part) == "x" && refers_to_another(graph, part))
}

/// Of a partition's key, which the whole tree's has made, only what it refers to is known.
fn refers_to_another(graph: &Graph, part: Id) -> bool {
    let unit = graph.unit(part);
    let needs = graph.needs.get(&part).into_iter().flatten();
    needs
        .filter(|other| graph.is_table(graph.unit(**other)))
        .any(|other| graph.unit(*other) != unit)
}

impl<'a> Names<'a> {
    fn of(graph: &'a Graph) -> Self {
        let mut names = Self { words: HashMap::new(), odd: Vec::new() };
        for (id, object) in &graph.objects {
            // A row type is called as its table is.
            let is_row_type = id.0 == PG_TYPE
                && graph.unit(*id).0 == PG_CLASS
                && graph.kind(graph.unit(*id)) != "c";
            if object.schema.is_empty() || id.0 == PG_CONSTRAINT || is_row_type {
                continue;
            }
            match is_word(&object.name) {
                true => names.words.entry(object.name.to_lowercase()).or_default().push(*id),
                false => names.odd.push((&object.name, *id)),
            }
        }
        names
    }

    fn in_text(&self, words: &Words<'_>) -> Vec<Id> {
        let said = words.all().iter().filter_map(|word| self.words.get(word)).flatten().copied();
        let odd = self.odd.iter().filter(|(name, _)| words.may_name(name)).map(|(_, id)| *id);
        said.chain(odd).collect()
    }
}
