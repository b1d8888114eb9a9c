def before_scenario(context, scenario):
    if "skip" in scenario.effective_tags:
        scenario.skip("PAY-97: one currency a day")
