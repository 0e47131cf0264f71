-- migrate: allow ban-dropcolumn nobody reads it
alter table users add column a int;
-- migrate: allow ban-drop-column nobody reads it
alter table users add column b int;
