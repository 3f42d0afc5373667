"""The data doctor: reads every file of a run's data before the run does, and says what is wrong with them."""

from ipsam.tools.prepare.doctor.diagnosis import diagnose
from ipsam.tools.prepare.doctor.reports import Diagnosis, SetReport

__all__ = ["Diagnosis", "SetReport", "diagnose"]
