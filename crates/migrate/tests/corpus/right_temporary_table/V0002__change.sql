create temporary table picked on commit drop as select id from users;
create index picked_id on picked (id);
update picked set id = id + 1;
