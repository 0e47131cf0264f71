create table "Order Lines" ("Id" int, note text);
create index "Lines" on "Order Lines" ("Id");
alter table public."Order Lines" add constraint u unique ("Id");
