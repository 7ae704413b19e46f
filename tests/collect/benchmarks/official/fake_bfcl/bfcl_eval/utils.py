SIZES = {"simple_python": 6, "irrelevance": 3, "multi_turn_base": 2}


def load_dataset_entry(category, include_prereq):
    return [{"id": f"{category}_{number}"} for number in range(SIZES[category])]
