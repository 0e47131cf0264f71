drop table "Order Lines";
