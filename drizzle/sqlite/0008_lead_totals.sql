-- Written by hand: the schema's language has no words for triggers.
CREATE TRIGGER `recording_counted` AFTER INSERT ON `recordings` BEGIN
  INSERT INTO `lead_totals` (`lead_id`, `part`, `recordings`) VALUES (new.`lead_id`, 0, 1)
    ON CONFLICT (`lead_id`, `part`) DO UPDATE SET `recordings` = `recordings` + 1;
END;
--> statement-breakpoint
CREATE TRIGGER `recording_uncounted` AFTER DELETE ON `recordings` BEGIN
  UPDATE `lead_totals` SET `recordings` = `recordings` - 1 WHERE `lead_id` = old.`lead_id` AND `part` = 0;
END;
--> statement-breakpoint
CREATE TRIGGER `recording_counted_elsewhere` AFTER UPDATE OF `lead_id` ON `recordings` BEGIN
  UPDATE `lead_totals` SET `recordings` = `recordings` - 1 WHERE `lead_id` = old.`lead_id` AND `part` = 0;
  INSERT INTO `lead_totals` (`lead_id`, `part`, `recordings`) VALUES (new.`lead_id`, 0, 1)
    ON CONFLICT (`lead_id`, `part`) DO UPDATE SET `recordings` = `recordings` + 1;
END;
--> statement-breakpoint
INSERT INTO `lead_totals` (`lead_id`, `part`, `recordings`) SELECT `lead_id`, 0, count(*) FROM `recordings` GROUP BY `lead_id`;
