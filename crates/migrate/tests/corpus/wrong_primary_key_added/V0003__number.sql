alter table notes add column id serial primary key;
