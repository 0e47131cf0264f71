create schema shop;
create table shop.items (id int primary key);
create index items_id on shop.items (id);
alter table shop.items add column name text not null;
