-- What administrators set of an instance beside its parameters, by its kind: a JSON object; empty means the defaults.
ALTER TABLE instance ADD COLUMN settings TEXT NOT NULL DEFAULT '';
