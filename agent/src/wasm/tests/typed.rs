//! JSON to typed values and back, for every kind of type.

use serde_json::{Value, json};

use crate::encoding::{Encoding, cbor};
use crate::wasm::CallError;
use crate::wasm::shape::{Int, Name, Shape, Signature};
use crate::wasm::{lift, lower, plain};

const BYTES: usize = 10_000;

fn signature(shape: Shape) -> Signature {
    Signature { params: vec![(Name::new("the-value"), shape)], result: None }
}

/// What comes back after a way in and out, or the error's field and message.
#[expect(clippy::needless_pass_by_value, reason = "reads better in a table of cases")]
fn through(shape: &Shape, json: Value) -> Result<Value, (String, String)> {
    let values = lower::arguments(&signature(shape.clone()), &json!([json]), BYTES).map_err(|error| match error {
        CallError::Argument { field, message } => (field, message),
        other => (String::new(), other.to_string()),
    });
    // What is refused, the short way does not take.
    for encoding in [Encoding::Json, Encoding::Cbor].into_iter().filter(|_| values.is_err()) {
        let short = plain::arguments(&signature(shape.clone()), encoding, &encoding.encode(&json!([json])), BYTES);
        assert!(short.is_none(), "{json}");
    }
    let values = values?;
    let lifted = lift::result(Some(shape), values.first(), BYTES).expect("small");
    // The short way, where it is taken, gives the same, and so does what is written down at once.
    for encoding in [Encoding::Json, Encoding::Cbor] {
        let short = plain::arguments(&signature(shape.clone()), encoding, &encoding.encode(&json!([json])), BYTES);
        assert!(short.is_none_or(|short| short == values), "{json}");
        let written = lift::encoded(Some(shape), values.first(), BYTES, encoding).expect("small");
        assert_eq!(read(encoding, &written).as_ref(), Some(&lifted));
    }
    Ok(lifted)
}

fn read(encoding: Encoding, bytes: &[u8]) -> Option<Value> {
    match encoding {
        Encoding::Json => serde_json::from_slice(bytes).ok(),
        Encoding::Cbor => cbor::decode(bytes).ok(),
    }
}

fn same(shape: &Shape, json: Value) {
    assert_eq!(through(shape, json.clone()), Ok(json));
}

fn becomes(shape: &Shape, from: Value, to: Value) {
    assert_eq!(through(shape, from), Ok(to));
}

#[expect(clippy::needless_pass_by_value, reason = "reads better in a table of cases")]
fn wrong(shape: &Shape, json: Value, field: &str, message: &str) {
    let (at, why) = through(shape, json.clone()).expect_err(&json.to_string());
    assert_eq!(at, field, "{json}: {why}");
    assert!(why.contains(message), "{json}: {why}");
}

fn int(int: Int) -> Shape {
    Shape::Int(int)
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| Name::new(name)).collect()
}

#[test]
fn whole_numbers_keep_to_their_range() {
    for (kind, low, high) in [
        (Int::U8, json!(0), json!(255)),
        (Int::S8, json!(-128), json!(127)),
        (Int::U16, json!(0), json!(65_535)),
        (Int::S16, json!(-32_768), json!(32_767)),
        (Int::U32, json!(0), json!(u32::MAX)),
        (Int::S32, json!(i32::MIN), json!(i32::MAX)),
        (Int::U64, json!(0), json!(u64::MAX)),
        (Int::S64, json!(i64::MIN), json!(i64::MAX)),
    ] {
        same(&int(kind), low);
        same(&int(kind), high);
    }
    wrong(&int(Int::U8), json!(256), "the_value", "from 0 to 255 (u8), not 256");
    wrong(&int(Int::S8), json!(-129), "the_value", "from -128 to 127");
    wrong(&int(Int::U32), json!(1.5), "the_value", "a whole number");
    wrong(&int(Int::U32), json!("7"), "the_value", "not text");
    wrong(&int(Int::U64), json!(-1), "the_value", "from 0 to 18446744073709551615");
    becomes(&int(Int::U64), json!("18446744073709551615"), json!(u64::MAX));
    becomes(&int(Int::S64), json!("-9223372036854775808"), json!(i64::MIN));
    wrong(&int(Int::U64), json!("18446744073709551616"), "the_value", "u64");
    wrong(&int(Int::U64), json!(""), "the_value", "u64");
}

#[test]
fn plain_values_come_back_as_they_were() {
    same(&Shape::Bool, json!(true));
    wrong(&Shape::Bool, json!(1), "the_value", "true or false, not a number");
    same(&Shape::Float64, json!(0.1));
    becomes(&Shape::Float64, json!(3), json!(3.0));
    same(&Shape::Float32, json!(0.9));
    same(&Shape::Float64, json!("NaN"));
    same(&Shape::Float64, json!("-Infinity"));
    wrong(&Shape::Float32, json!(1e300), "the_value", "out of range");
    wrong(&Shape::Float64, json!("fast"), "the_value", "must be a number");
    same(&Shape::Char, json!("é"));
    wrong(&Shape::Char, json!("ab"), "the_value", "exactly one");
    wrong(&Shape::Char, json!(""), "the_value", "exactly one");
    same(&Shape::String, json!("zone 3 ✓"));
    wrong(&Shape::String, json!(null), "the_value", "must be text, not null");
}

#[test]
fn composed_values_name_the_place_that_is_wrong() {
    let list = Shape::List(Box::new(int(Int::U8)));
    same(&list, json!([1, 2, 3]));
    wrong(&list, json!([1, 2, 999]), "the_value[2]", "u8");
    wrong(&list, json!({"0": 1}), "the_value", "an array, not an object");
    let tuple = Shape::Tuple(vec![Shape::Bool, Shape::String]);
    same(&tuple, json!([true, "x"]));
    wrong(&tuple, json!([true]), "the_value", "2 items, not 1");
    let record = Shape::Record(vec![
        (Name::new("t-ms"), int(Int::U64)),
        (Name::new("note"), Shape::Option(Box::new(Shape::String))),
    ]);
    same(&record, json!({"t_ms": 5, "note": "x"}));
    becomes(&record, json!({"t-ms": 5}), json!({"t_ms": 5, "note": null}));
    wrong(&record, json!({"note": "x"}), "the_value.t_ms", "is missing; it is of type u64");
    wrong(&record, json!({"t_ms": 5, "tms": 5}), "the_value.tms", "is unknown; there are: t_ms, note");
    wrong(&record, json!({"t_ms": 5, "t-ms": 6}), "the_value", "twice");
    wrong(&record, json!([5]), "the_value", "an object, not an array");
    let deep = Shape::List(Box::new(record));
    wrong(&deep, json!([{"t_ms": 1}, {"t_ms": "x"}]), "the_value[1].t_ms", "u64");
}

#[test]
fn cases_are_text_or_an_object_with_one_field() {
    let enumeration = Shape::Enum(names(&["win-win", "lose-lose"]));
    same(&enumeration, json!("win-win"));
    becomes(&enumeration, json!("lose_lose"), json!("lose-lose"));
    wrong(&enumeration, json!("draw"), "the_value", "one of win_win, lose_lose, not `draw`");
    let variant = Shape::Variant(vec![(Name::new("none"), None), (Name::new("some-text"), Some(Shape::String))]);
    same(&variant, json!("none"));
    same(&variant, json!({"some-text": "x"}));
    becomes(&variant, json!({"none": null}), json!("none"));
    wrong(&variant, json!("some-text"), "the_value", "needs a value");
    wrong(&variant, json!({"none": 1}), "the_value", "takes no value");
    wrong(&variant, json!({"some_text": 1}), "the_value.some_text", "must be text");
    wrong(&variant, json!({"a": 1, "b": 2}), "the_value", "an object with it as the only field");
    let option = Shape::Option(Box::new(int(Int::U8)));
    same(&option, json!(null));
    same(&option, json!(7));
    let nested = Shape::Option(Box::new(option));
    same(&nested, json!(null));
    same(&nested, json!({"some": null}));
    same(&nested, json!({"some": 7}));
    wrong(&nested, json!(7), "the_value", "null or");
    let result = Shape::Result(Some(Box::new(int(Int::U8))), None);
    same(&result, json!({"ok": 7}));
    same(&result, json!({"err": null}));
    wrong(&result, json!({"err": 1}), "the_value", "takes no value");
    wrong(&result, json!(7), "the_value", "{\"ok\": …}");
    let flags = Shape::Flags(names(&["read", "write-all"]));
    same(&flags, json!(["read", "write-all"]));
    becomes(&flags, json!(["read", "read"]), json!(["read"]));
    wrong(&flags, json!(["read", "fly"]), "the_value[1]", "one of read, write_all");
}

#[test]
fn arguments_are_an_array_or_an_object_by_name() {
    let two = Signature { params: vec![(Name::new("a"), Shape::Bool), (Name::new("b-c"), Shape::Bool)], result: None };
    let field = |args: Value| match lower::arguments(&two, &args, BYTES) {
        Ok(values) => format!("{} values", values.len()),
        Err(CallError::Argument { field, .. }) => field,
        Err(other) => other.to_string(),
    };
    assert_eq!(field(json!([true, false])), "2 values");
    assert_eq!(field(json!({"b_c": true, "a": false})), "2 values");
    assert_eq!(field(json!([true])), "b_c");
    assert_eq!(field(json!([true, true, true])), "");
    assert_eq!(field(json!({"a": true})), "b_c");
    assert_eq!(field(json!({"a": true, "b_c": true, "d": 1})), "d");
    assert_eq!(field(json!(true)), "");
    let none = Signature { params: Vec::new(), result: None };
    for args in [json!(null), json!([]), json!({})] {
        assert!(lower::arguments(&none, &args, BYTES).is_ok(), "{args}");
    }
    let large = json!([vec!["x".repeat(100); 100]]);
    let list = signature(Shape::List(Box::new(Shape::String)));
    let refused = lower::arguments(&list, &large, BYTES);
    assert!(matches!(refused, Err(CallError::ArgumentsTooLarge { limit_bytes: BYTES })));
}

/// A type with a bit of everything that is plain, and a document of it.
fn everything() -> (Signature, Value) {
    let fighter = Shape::Record(vec![
        (Name::new("id"), int(Int::U64)),
        (Name::new("down-by"), int(Int::S8)),
        (Name::new("at"), Shape::Tuple(vec![Shape::Float64, Shape::Float32])),
        (Name::new("tactic"), Shape::Enum(names(&["speed", "all-out"]))),
        (Name::new("note"), Shape::Option(Box::new(Shape::String))),
        (Name::new("is-up"), Shape::Bool),
    ]);
    let signature = Signature {
        params: vec![
            (Name::new("fighters"), Shape::List(Box::new(fighter))),
            (Name::new("bytes"), Shape::List(Box::new(int(Int::U8)))),
        ],
        result: None,
    };
    let fighter = |id: u64, note: Value| json!({"id": id, "down_by": -3, "at": [1.5, 2], "tactic": "all-out", "note": note, "is_up": true});
    (signature, json!([[fighter(u64::MAX, json!("café")), fighter(7, json!(null))], [1, 2, 255]]))
}

#[test]
fn the_short_way_is_taken_for_plain_arguments() {
    let (signature, document) = everything();
    let long = lower::arguments(&signature, &document, BYTES).expect("they are sound");
    let Value::Array(params) = &document else { panic!("an array") };
    let by_name = json!({"bytes": params[1], "fighters": params[0]});
    for encoding in [Encoding::Json, Encoding::Cbor] {
        let short = |document: &Value, bytes| plain::arguments(&signature, encoding, &encoding.encode(document), bytes);
        assert_eq!(short(&document, BYTES).as_ref(), Some(&long));
        assert_eq!(short(&by_name, BYTES).as_ref(), Some(&long));
        // To the byte, it costs what the long way costs.
        let least = (0..).find(|bytes| lower::arguments(&signature, &document, *bytes).is_ok()).expect("some do");
        assert!(short(&document, least).is_some() && short(&document, least - 1).is_none());
        let mut absent = document.clone();
        absent[0][1].as_object_mut().expect("a record").remove("note");
        assert_eq!(short(&absent, BYTES).as_ref(), Some(&long));
        absent[0][1].as_object_mut().expect("a record").remove("is_up");
        assert!(short(&absent, BYTES).is_none());
    }
    let bytes = [&cbor::encode(&json!([[], []]))[..2], b"\x43\x01\x02\xff"].concat();
    let expect = lower::arguments(&signature, &json!([[], [1, 2, 255]]), BYTES);
    assert_eq!(plain::arguments(&signature, Encoding::Cbor, &bytes, BYTES), expect.ok());
}

#[test]
fn what_the_short_way_takes_the_long_way_takes_too() {
    const TEXT: &[u8] = b"0123456789.eE+-nulltrue,:[]{}\"";
    let (signature, document) = everything();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("it is below a usize")
    };
    for encoding in [Encoding::Json, Encoding::Cbor] {
        let (sound, mut taken) = (encoding.encode(&document), 0);
        for _ in 0..40_000 {
            let mut bytes = sound.clone();
            let at = draw(bytes.len());
            match draw(4) {
                0 => bytes[at] = u8::try_from(draw(256)).expect("a byte"),
                1 => bytes[at] = TEXT[draw(TEXT.len())],
                2 => drop(bytes.remove(at)),
                _ => bytes[at] ^= 1 << draw(8),
            }
            let Some(short) = plain::arguments(&signature, encoding, &bytes, BYTES) else { continue };
            taken += 1;
            let tree = read(encoding, &bytes).unwrap_or_else(|| panic!("no document: {bytes:02x?}"));
            assert_eq!(lower::arguments(&signature, &tree, BYTES).expect("they are sound"), short, "{tree}");
        }
        assert!(taken > 500, "{taken} were taken");
    }
}
