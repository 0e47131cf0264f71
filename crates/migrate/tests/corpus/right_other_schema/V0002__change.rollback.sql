drop table shop.items;
drop schema shop;
